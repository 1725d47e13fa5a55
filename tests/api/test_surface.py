"""The public API: what is exported, what it costs to import, how its values are shown, pickled and copied."""

from __future__ import annotations

import ast
import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pvspec
from pvspec import KernelImage, Machine, Prediction, PvspecError, open_dump, open_kernel, parse_cpuinfo, predict
from tests.prediction.kernel import CPUINFO, build

PACKAGE = Path(pvspec.__file__).parent


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KernelImage:
    monkeypatch.chdir(tmp_path)
    return open_kernel(build())


@pytest.fixture
def prediction(kernel: KernelImage) -> Prediction:
    return predict(kernel, Machine(cpu=parse_cpuinfo(CPUINFO, "cpuinfo"), cpus=1), spec="kernel.pvs")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpu": "EPYC"}, "cpu is 'EPYC': it must be what read_cpu or parse_cpuinfo returns"),
        ({"features": "fpu"}, "features is 'fpu': it must be a tuple of names"),
        ({"lacking": "fpu"}, "lacking is 'fpu': it must be a tuple of names"),
    ],
)
def test_a_machine_of_something_else(kernel: KernelImage, given: dict[str, Any], message: str) -> None:
    with pytest.raises(PvspecError) as error:
        predict(kernel, Machine(**{"cpu": parse_cpuinfo(CPUINFO, "cpuinfo"), **given}), spec="kernel.pvs")
    assert str(error.value) == message


@pytest.mark.parametrize("cpus", [0, -1])
def test_no_processors(kernel: KernelImage, cpus: int) -> None:
    machine = Machine(cpu=parse_cpuinfo(CPUINFO, "cpuinfo"), cpus=cpus)
    with pytest.raises(PvspecError, match=f"cpus is {cpus}: it must be a whole number, 1 or more"):
        predict(kernel, machine, spec="kernel.pvs")


def typed_names() -> dict[str, str]:
    """The names that a type checker sees, each with its module."""
    tree = ast.parse(Path(pvspec.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {str(name.asname): str(node.module) for node in imports for name in node.names}


def test_a_type_checker_sees_what_there_is() -> None:
    typed = typed_names()
    assert {*typed, "__version__"} == set(pvspec.__all__) == set(dir(pvspec))
    for name, module in typed.items():
        assert getattr(pvspec, name) is getattr(sys.modules[module], name)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'pvspec' has no attribute 'predictt'"):
        pvspec.predictt  # type: ignore[attr-defined]  # noqa: B018


def test_the_import_costs_nothing() -> None:
    script = "import sys, pvspec; print(*(name for name in sys.modules if name.startswith('pvspec')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pvspec"]


def test_one_exception_at_the_root() -> None:
    errors = [getattr(pvspec, name) for name in pvspec.__all__ if name.endswith(("Error", "Bug"))]
    assert len(errors) > 8
    assert all(issubclass(error, PvspecError) for error in errors)


@pytest.mark.parametrize("name", ["vmlinux", "kernel.pvs", "dump", "nothing"])
def test_whatever_is_wrong_is_a_pvspec_error(kernel: KernelImage, name: str) -> None:
    Path("dump").write_bytes(b"dump")
    machine = Machine(cpu=parse_cpuinfo(CPUINFO, "cpuinfo"), hypervisor="nobody")
    for attempt in (
        lambda: predict(kernel, machine, spec="kernel.pvs"),
        lambda: predict(kernel, Machine(), spec="kernel.pvs"),
        lambda: pvspec.load_spec(name if name != "kernel.pvs" else "vmlinux"),
        lambda: open_kernel("kernel.pvs" if name == "vmlinux" else name),
        lambda: open_dump(name, kernel),
        lambda: pvspec.read_cpu(name),
        lambda: pvspec.simulate(strategies=["hope"]),
    ):
        with pytest.raises(PvspecError):
            attempt()


def pickled(value: Prediction) -> Prediction:
    other: Prediction = pickle.loads(pickle.dumps(value))
    return other


class TestPrediction:
    def test_it_is_shown_in_a_line(self, prediction: Prediction) -> None:
        for value in (prediction, prediction.bound, prediction.bound.kernel, prediction.bound.image):
            assert len(repr(value)) < 250
            assert "\n" not in repr(value)

    @pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
    def test_it_pickles_and_copies(self, prediction: Prediction, how: str) -> None:
        ways: dict[str, Callable[[Prediction], Prediction]] = {
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
            "pickle": pickled,
        }
        other = ways[how](prediction)
        assert other.text == prediction.text
        assert other.sites == prediction.sites
        assert [tuple(site.others) for site in other.sites] == [tuple(site.others) for site in prediction.sites]
        assert other.counts == prediction.counts
        assert other.features == prediction.features
        assert other.bound.patched() == prediction.bound.patched()

    def test_the_site_at_an_address(self, prediction: Prediction) -> None:
        address = prediction.bound.image.symbols.address("labelled")
        assert address is not None
        site = prediction.at(address + 4)[-1]
        assert (site.table, site.address, site.length) == ("jump_labels", address, 5)
        assert site not in prediction.at(address + 5)
        assert prediction.at(0) == []

    def test_texts_are_compared(self, prediction: Prediction) -> None:
        other = bytes([prediction.text[0] ^ 1, *prediction.text[1:]])
        (found,) = pvspec.compare(prediction, prediction.text, other)
        assert (found.address, found.first, found.second) == (prediction.start, bytes([other[0] ^ 1]), other[:1])
        with pytest.raises(PvspecError, match=f"a text of 1 bytes; the kernel's has {len(other)}"):
            pvspec.compare(prediction, prediction.text, b"x")


def test_a_dump_says_where_the_kernel_is(kernel: KernelImage, prediction: Prediction) -> None:
    """Whatever its memory is read through."""
    memory = bytes(prediction.memory)

    class Debugger:
        def read(self, address: int, size: int) -> bytes:
            start = address - kernel.base
            return memory[start : start + size] if 0 <= start < len(memory) else b""

    machine = Machine(cpu=parse_cpuinfo(CPUINFO, "cpuinfo"), cpus=1)
    for source in (Debugger(), memory):
        told = predict(kernel, machine, spec="kernel.pvs", dump=open_dump(source, kernel))
        assert told.text == prediction.text
        assert not any(site.others for site in told.sites)


def test_a_patched_kernel_is_the_predicted_one(kernel: KernelImage, prediction: Prediction) -> None:
    machine = Machine(cpu=parse_cpuinfo(CPUINFO, "cpuinfo"), cpus=1)
    patched = pvspec.patch(kernel, machine, spec=pvspec.load_spec("kernel.pvs"))
    assert patched.memory == prediction.memory
    assert patched.bytes_changed == sum(a != b for a, b in zip(kernel.memory, patched.memory, strict=True))
    patched.write("patched")
    assert open_kernel("patched").memory == patched.memory


# ---- who calls it


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


@pytest.mark.parametrize("path", sorted(PACKAGE.joinpath("cli").rglob("*.py")), ids=lambda path: path.stem)
def test_commands_call_nothing_but_the_api(path: Path) -> None:
    """Besides it they may write files, which is no business of a library."""
    own = [name for name in imported(path) if name.partition(".")[0] == "pvspec"]
    assert [name for name in own if name != "pvspec" and not name.startswith(("pvspec.cli", "pvspec.support."))] == []


RUN = ("exec", "eval", "compile", "__import__")
CODE = ("marshal", "pickle", "shelve", "runpy", "code")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_nothing_executes_text(path: Path) -> None:
    """But `pvspec.load`, which is there for whoever wants a printed module imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    found = [call.func.id for call in calls if isinstance(call.func, ast.Name) and call.func.id in RUN]
    loader = path.relative_to(PACKAGE).as_posix() == "compiler/pipeline.py"
    assert found == (["exec", "compile"] if loader else [])
    assert [name for name in imported(path) if name.partition(".")[0] in CODE] == []
