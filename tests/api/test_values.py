"""The public API: each name is documented, each value is shown in a line, pickled and copied, each error too."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pvspec
from pvspec import Machine, PvspecError, bind_kernel, explain, load_spec, open_kernel, patch, predict
from tests.prediction import kernel as small_kernel
from tests.test_architecture import ROWS

PACKAGE = Path(pvspec.__file__).parent
DOCS = PACKAGE.parent / "docs"
MACHINE = Machine(features=("XMM2",), cpus=1)


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pvspec.KernelImage:
    monkeypatch.chdir(tmp_path)
    return open_kernel(small_kernel.build())


def values(vmlinux: pvspec.KernelImage) -> Iterator[object]:
    """One of each kind that a prediction leads to."""
    prediction = predict(vmlinux, MACHINE, spec="kernel.pvs")
    address = vmlinux.symbols.parse_address("labelled")
    yield from (vmlinux, load_spec("kernel.pvs"), MACHINE, prediction, *prediction.sites)
    yield from (form for site in prediction.sites for form in site.others)
    yield explain(vmlinux, MACHINE, address, spec="kernel.pvs")
    yield from (bind_kernel(vmlinux, MACHINE, spec="kernel.pvs"), patch(vmlinux, MACHINE, spec="kernel.pvs"))


# ---- names


def test_it_is_typed() -> None:
    assert PACKAGE.joinpath("py.typed").exists()


@pytest.mark.parametrize("name", sorted(set(pvspec.__all__) - {"__version__"}))
def test_each_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(pvspec, name))
    assert re.search(rf"`[^`\n]*\b{name}\b", DOCS.joinpath("api.md").read_text(encoding="utf-8"))


# ---- values and errors


def test_values_pickle_and_copy(vmlinux: pvspec.KernelImage) -> None:
    for value in values(vmlinux):
        for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
            assert type(again) is type(value)
            assert repr(again) == repr(value)


def test_what_is_large_shows_itself_in_a_line(vmlinux: pvspec.KernelImage) -> None:
    kinds = (pvspec.KernelImage, pvspec.Prediction, pvspec.Bound, pvspec.Patched)
    shown = [repr(value) for value in values(vmlinux) if isinstance(value, kinds)]
    assert len(shown) == len(kinds)
    assert all(len(text) < 160 and "\n" not in text for text in shown)


def test_errors_pickle(vmlinux: pvspec.KernelImage) -> None:
    calls: list[Callable[[], object]] = [
        lambda: predict(vmlinux, Machine(), spec="kernel.pvs"),
        lambda: load_spec("missing.pvs"),
        lambda: open_kernel("missing"),
        lambda: pvspec.read_cpu("missing"),
        lambda: pvspec.Facts(load_spec("kernel.pvs"), cpus=0),
    ]
    for call in calls:
        with pytest.raises(PvspecError) as caught:
            call()
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


# ---- who uses it


def test_the_page_of_the_architecture_has_each_room() -> None:
    page = DOCS.joinpath("architecture.md").read_text(encoding="utf-8")
    assert [name for row in ROWS for name in row.split() if f"`{name}`" not in page] == []
