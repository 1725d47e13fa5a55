"""`pvspec --confined`: the same results, and no way out."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pvspec.support.confinement import seccomp

from .conftest import NOBODY, SPEC, Run, other_user
from .test_kernels import OPTIONS, vmlinux
from .test_outcome import PVSPEC, command

__all__ = ["command", "vmlinux"]

ESCAPES = Path(__file__).with_name("escapes.py")


def run(*words: str | Path, status: int | None = 0, script: str | None = None) -> subprocess.CompletedProcess[str]:
    start = [*PVSPEC] if script is None else [sys.executable, "-c", script]
    done = subprocess.run([*start, *words], capture_output=True, text=True, timeout=120)
    assert status is None or done.returncode == status, (done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module", autouse=True)
def can_confine(tmp_path_factory: pytest.TempPathFactory) -> None:
    spec = tmp_path_factory.mktemp("spec") / "toy.pvs"
    spec.write_text(SPEC, encoding="utf-8")
    done = run("--confined", "check", spec, status=None)
    if "cannot be confined" in done.stderr:
        pytest.skip(done.stderr)


def written() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().iterdir()) if path.is_file()}


# ---- the same as without


def test_every_command(command: tuple[str, ...]) -> None:
    before = written()
    free, result = run(*command), written()
    for path in Path().iterdir():
        if path.is_file():
            path.unlink()
    for name, data in before.items():
        Path(name).write_bytes(data)
    cache = {path: path.read_bytes() for path in Path("cache").iterdir()}
    confined = run("--confined", *command)
    assert (confined.stdout, confined.stderr) == (free.stdout, free.stderr)
    assert written() == result
    assert {path: path.read_bytes() for path in Path("cache").iterdir()} == cache
    assert run("--confined", *command, "--json").stderr == ""
    assert written() == result, "it can replace what it made"


@pytest.mark.parametrize("name", ["in", "/dev/stdin", "/dev/fd/0"])
def test_inputs_that_have_no_path(vmlinux: Path, name: str) -> None:
    script = f'"$@" <"{vmlinux.with_name("cpu")}"'
    Path("cpu").write_text("processor : 0\nvendor_id : GenuineIntel\n", encoding="utf-8")
    words = ["explain", "vmlinux", "0xc0100002", *OPTIONS, "--cpu", name]
    ends = [
        subprocess.run(["sh", "-c", script, "sh", *PVSPEC, *confined, *words], capture_output=True, text=True)
        for confined in ([], ["--confined"])
    ]
    assert (ends[0].returncode, ends[0].stdout, ends[0].stderr) == (ends[1].returncode, ends[1].stdout, ends[1].stderr)


def test_a_spec_that_includes_one_beside_it(spec: Path) -> None:
    Path("all").mkdir()
    Path("all/other.pvs").write_text('include "toy.pvs"\n', encoding="utf-8")
    shutil.move("toy.pvs", "all/toy.pvs")
    run("--confined", "check", "all/other.pvs")


def test_a_spec_that_includes_one_elsewhere(spec: Path) -> None:
    Path("all").mkdir()
    Path("all/other.pvs").write_text('include "../toy.pvs"\n', encoding="utf-8")
    assert "PV00" in run("--confined", "check", "all/other.pvs", status=1).stderr


def test_it_is_no_command(spec: Path) -> None:
    assert "COMMAND" in run("--confined", status=2).stderr
    assert "--confined" in run("--help").stdout
    assert run("check", "--confined", "toy.pvs", status=2).stdout == ""


# ---- no way out


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("readable", "outside/folder", "out"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("readable/file", "outside/file", "out/file"):
        (tmp_path / name).write_text("contents", encoding="utf-8")
    (tmp_path / "readable/link").symlink_to("../outside/file")
    return tmp_path


def test_nothing_escapes(place: Path) -> None:
    tried = json.loads(run(place, "confined", script=ESCAPES.read_text()).stdout)
    assert {name: error for name, error in tried["allowed"].items() if error} == {}
    assert [name for name, error in tried["forbidden"].items() if error is None] == []
    refused = {os.strerror(number) for number in (38, 1)}  # what the filter says; not that an argument is wrong
    assert {name: error for name, error in tried["calls"].items() if error not in refused} == {}
    for name in ("readable/file", "outside/file"):
        assert (place / name).read_text() == "contents"
        assert (place / name).stat().st_mode & 0o7777 == 0o644
    assert sorted(os.listdir(place / "out")) == ["file"]


def test_the_attempts_are_real(place: Path) -> None:
    """What is refused above succeeds without confinement."""
    tried = json.loads(run(place, "free", script=ESCAPES.read_text()).stdout)
    assert {name: error for name, error in tried.items() if error} == {}


@other_user
def test_another_user(run_as_nobody: Run, place: Path) -> None:
    (place / "toy.pvs").write_text(SPEC, encoding="utf-8")
    os.chown(place / "out", NOBODY, NOBODY)
    for output in ("out/new.py", "out/file"):
        done = run_as_nobody("--confined", "compile", place / "toy.pvs", "-o", place / output)
        assert (done.code, done.err) == (0, "")
        assert (place / output).stat().st_uid == NOBODY


def test_what_is_inherited_is_closed(spec: Path) -> None:
    """A descriptor that is open already is beyond what Landlock can refuse."""
    script = """
import os, sys
from pvspec.cli.commands import check
def run(arguments, report):
    report.say(str([os.path.exists(f"/proc/self/fd/{number}") for number in (7, 8)]))
check.run = run
from pvspec.cli import main
sys.exit(main(sys.argv[1:]))
"""
    line = 'exec "$@" 7</etc/passwd 8<toy.pvs'
    words = [sys.executable, "-c", script, "--confined", "check", "/proc/self/fd/8"]
    done = subprocess.run(["sh", "-c", line, "sh", *words], capture_output=True, text=True)
    assert done.stdout == "[False, True]\n", done.stderr


def test_its_memory_is_its_own() -> None:
    """No core dump, no debugger; and no more rights by running another program."""
    script = """
import ctypes
from pvspec.support import confinement
confinement.filter_calls = lambda: None
confinement.confine([], [], [])
print(*(ctypes.CDLL(None).prctl(question, 0, 0, 0, 0) for question in (3, 39)))  # PR_GET_DUMPABLE, …NO_NEW_PRIVS
"""
    assert run(script=script).stdout == "0 1\n"


# ---- limits


LIMITED = """
import sys
from pvspec.cli import main
from pvspec.cli.commands import check
from pvspec.cli.outcome import end
from pvspec.support.confinement import limits
limits.MAX_CPU = 1
def run(arguments, report):
    {work}
check.run = run
end(main(["--confined", "check", "toy.pvs"]))
"""


@pytest.mark.parametrize(
    ("work", "status", "message"),
    [
        ("while True: pass", -signal.SIGXCPU, "stopped by SIGXCPU: the processor time that it was given is used up"),
        ("bytearray(1 << 31)", 1, "not enough memory"),
        ("report.say('x' * 10); open('/etc/passwd')", 1, "Permission denied"),
    ],
)
def test_what_is_too_much(spec: Path, work: str, status: int, message: str) -> None:
    done = run(script=LIMITED.format(work=work), status=None)
    assert done.returncode == status
    assert message in done.stderr


def test_limits_are_not_raised() -> None:
    script = "import resource as r; from pvspec.support.confinement.limits import limit_resources as f; "
    script += "r.setrlimit(r.RLIMIT_CPU, (3, 5)); r.setrlimit(r.RLIMIT_NOFILE, (9, 99)); f(); "
    script += "print(*r.getrlimit(r.RLIMIT_CPU), *r.getrlimit(r.RLIMIT_NOFILE), *r.getrlimit(r.RLIMIT_CORE))"
    assert run(script=script).stdout == "3 5 9 64 0 0\n"
    assert resource.getrlimit(resource.RLIMIT_CORE) != (0, 1)


# ---- systems that cannot


MISSING = """
import sys
from pvspec.cli import main
from pvspec.support.confinement import landlock, seccomp
{lacks}
sys.exit(main(["--confined", "compile", "toy.pvs", "-o", "out.py"]))
"""
REFUSE = "def refuse(*_): raise OSError(38, 'Function not implemented')\n"


@pytest.mark.parametrize(
    ("lacks", "message"),
    [
        (f"{REFUSE}landlock.call = refuse", "the kernel has no Landlock: it is in Linux 5.13 and later, if `landlock`"),
        (f"{REFUSE}seccomp.call = refuse", "the kernel takes no seccomp filter (Function not implemented)"),
        ("seccomp.platform.machine = lambda: 'vax'", "there is no list of system calls for vax"),
    ],
)
def test_a_system_that_cannot(spec: Path, lacks: str, message: str) -> None:
    done = run(script=MISSING.format(lacks=lacks), status=1)
    assert done.stderr.startswith(f"error: this process cannot be confined, so nothing was read: {message}")
    assert not Path("out.py").exists()


@pytest.mark.parametrize(
    ("header", "pattern", "column"),
    [
        ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", r"__NR_(\w+) (\d+)$", 0),
        ("/usr/include/asm-generic/unistd.h", r"__NR(?:3264)?_(\w+) (\d+)$", 1),
    ],
)
def test_the_numbers_are_linuxs(header: str, pattern: str, column: int) -> None:
    if not Path(header).exists():
        pytest.skip("Linux's headers are not installed")
    linux = {name: int(number) for name, number in re.findall(rf"#define {pattern}", Path(header).read_text(), re.M)}
    linux["newfstatat"] = linux.get("newfstatat", linux.get("fstatat", -1))
    numbers = {**seccomp.CALLS, **{name: some.numbers for name, some in seccomp.SOME.items()}}
    assert {name: both[column] for name, both in numbers.items() if both[column] is not None} == {
        name: linux[name] for name, both in numbers.items() if both[column] is not None
    }
