"""However a command ends: one line, the right exit status, no half-written file, no traceback."""

from __future__ import annotations

import importlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pvspec.cli import COMMANDS, main

from .conftest import SPEC, Run
from .test_kernels import OPTIONS, SOURCE, vmlinux
from .test_killed import writes

__all__ = ["vmlinux"]

PVSPEC = (sys.executable, "-m", "pvspec")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)
OLD = b"# from yesterday\n"
ARGUMENTS = {
    "compile": ("toy.pvs", "-o", "out"),
    "check": ("toy.pvs",),
    "test": ("toy.pvs",),
    "prove": ("toy.pvs",),
    "expand": ("toy.pvs",),
    "fmt": ("ragged.pvs",),
    "apply": ("vmlinux", *OPTIONS, "-o", "out"),
    "predict": ("vmlinux", *OPTIONS, "--features", "XMM2", "-o", "out"),
    "explain": ("vmlinux", "0xc0100002", *OPTIONS),
    "diff-text": ("vmlinux", "text", "text", *OPTIONS),
    "simulate": ("--strategy", "two-stage", "--svg", "out"),
}


def test_every_command_is_here() -> None:
    assert ARGUMENTS.keys() == set(COMMANDS)


@pytest.fixture(scope="module", autouse=True)
def signals_that_count() -> Iterator[None]:
    """Tests that run in the background inherit that Ctrl-C is ignored, and what they start would as well."""
    before = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(params=ARGUMENTS)
def command(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """One that prints something, and exits with 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PVSPEC_CACHE", str(tmp_path / "cache"))
    arguments = ARGUMENTS[request.param]
    Path("toy.pvs").write_text(SPEC, encoding="utf-8")
    Path("ragged.pvs").write_text(SPEC.replace("    ", "  "), encoding="utf-8")
    if "vmlinux" in arguments:
        request.getfixturevalue("vmlinux")
    if "text" in arguments:
        subprocess.run([*PVSPEC, "predict", "vmlinux", *OPTIONS, "-o", "text"], check=True, capture_output=True)
    return (request.param, *arguments)


def shell(command: tuple[str, ...], rest: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with redirections; its status, the part of a signal as a shell would say it."""
    script = f'"$@" {rest}'
    return subprocess.run(
        ["sh", "-c", script, "sh", *PVSPEC, *command],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def left() -> list[str]:
    return [str(path) for path in Path().rglob(".*") if path.is_file()]


LONG = f"{'x' * 200}.pvs"  # its name fills pipes and disks sooner
UNBUFFERED = [{}, {"PYTHONUNBUFFERED": "1"}]
NOWHERE = {
    ">&-": "Bad file descriptor",
    ">/dev/full": "No space left on device",
}


# ---- streams


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_an_output_that_takes_nothing(command: tuple[str, ...], where: str) -> None:
    done = shell(command, where)
    assert done.stderr == f"error: standard output cannot be written: {NOWHERE[where]}\n"
    assert (done.returncode, done.stdout, left()) == (1, "", [])


def test_an_error_stream_that_takes_nothing(command: tuple[str, ...]) -> None:
    done = shell(command, "2>&-")
    assert (done.returncode, done.stderr, left()) == (0, "", [])
    assert done.stdout


@pytest.mark.parametrize("environment", UNBUFFERED, ids=str)
@pytest.mark.parametrize(
    "where", [">&-", ">/dev/full", "1</dev/null", "2>&-", "2>/dev/full", ">&- 2>&-", ">&- 2>&- <&-", "<&-"]
)
def test_whatever_takes_nothing(spec: Path, where: str, environment: dict[str, str]) -> None:
    """The errors of a command do not go to its output instead, and the status is that of the errors."""
    no_output, no_errors = not {">&-", ">/dev/full", "1</dev/null"}.isdisjoint(where.split()), "2>" in where
    for arguments, status, error in [
        (("check", "nosuch.pvs"), 1, "error[PV001]"),
        (("check", "nosuch.pvs", "toy.pvs"), 1, "error[PV001]"),
        (("check",), 2, "usage"),
        (("--help",), int(no_output), "error: standard output" * no_output),
        (("check", "--help"), int(no_output), "error: standard output" * no_output),
        (("--version",), int(no_output), "error: standard output" * no_output),
    ]:
        done = shell(arguments, where, **environment)
        assert done.returncode == status, arguments
        assert done.stderr.startswith(error) if not no_errors else done.stderr == ""
        assert "error" not in done.stdout
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_no_file_gets_the_number_of_a_closed_stream(spec: Path) -> None:
    """Else whatever prints to the output, as a C library might, prints into a file."""
    script = """
import os, sys
from pvspec.cli import main
from pvspec.support import output
opened = os.open
def checked(path, flags, *rest, **named):
    handle = opened(path, flags, *rest, **named)
    if handle < 3 and path != os.devnull:
        os._exit(99)
    return handle
os.open = checked
os._exit(main(sys.argv[1:]))
"""
    for where in (">&-", "<&-", "2>&-", ">&- 2>&- <&-"):
        script_line = f'"$@" {where}'
        arguments = [sys.executable, "-c", script, "compile", "toy.pvs", "-o", "out.py"]
        done = subprocess.run(["sh", "-c", script_line, "sh", *arguments], capture_output=True, text=True)
        assert done.returncode == (">&-" in where.split())
        Path("out.py").unlink()


@pytest.mark.parametrize("environment", UNBUFFERED, ids=str)
def test_an_output_that_is_full_after_a_while(spec: Path, environment: dict[str, str]) -> None:
    """A write that a disk takes a part of is no error yet."""
    spec.rename(LONG)
    command = " ".join(["check", *[LONG] * 40])
    script = f'ulimit -f 8; exec "{sys.executable}" -m pvspec {command} > out'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (1, "error: standard output cannot be written: File too large\n")


@pytest.mark.parametrize("reader", ["head -c 1", "true", "sleep 0"])
def test_a_reader_that_goes_away(spec: Path, reader: str) -> None:
    """As for any program that SIGPIPE ends: nothing is said, and the status says so."""
    spec.rename(LONG)
    command = f"{' '.join(PVSPEC)} check {' '.join([LONG] * 500)}"
    script = f'{{ {command}; echo "status $?" >&2; }} | {reader} >/dev/null'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == "status 141\n"


def test_a_reader_of_errors_that_goes_away(spec: Path) -> None:
    command = f"{' '.join(PVSPEC)} check {' '.join([LONG] * 500)}"
    script = f'{{ {command} 2>&1 >/dev/null; echo "status $?" >&2; }} | true'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stderr == "status 1\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict", "utf-8"])
@pytest.mark.parametrize("arguments", [("predict", "--help"), ("check", "größe→.pvs"), ("check", "--json", "→.pvs")])
def test_an_output_without_the_letters(spec: Path, encoding: str, arguments: tuple[str, ...]) -> None:
    for name in ("größe→.pvs", "→.pvs"):
        Path(name).write_text(SPEC, encoding="utf-8")
    done = subprocess.run(
        [*PVSPEC, *arguments], capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout


# ---- a full disk


@pytest.mark.parametrize("command", [name for name in ARGUMENTS if "out" in ARGUMENTS[name]], indirect=True)
def test_a_disk_that_is_full(command: tuple[str, ...]) -> None:
    """A real one, of 4 KiB; the cache is on it as well."""
    Path("full").mkdir()
    mount = "mount -t tmpfs -o size=4k none full && head -c 4096 /dev/zero > full/zeros; cd full && "
    if subprocess.run(["unshare", "-m", "sh", "-c", f"{mount} true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    arguments = [f"../{word}" if word in ("toy.pvs", "vmlinux") else word for word in command]
    environment = {**os.environ, "PVSPEC_CACHE": str(Path("full/cache").absolute())}
    script = f'{mount} "$@"; status=$?; ls -A >&2; exit $status'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *PVSPEC, *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1
    assert done.stderr == "error: out cannot be written: No space left on device\n\ncache\nzeros\n"


# ---- more than there is


@pytest.mark.parametrize(
    ("error", "message"),
    [(MemoryError(), "not enough memory"), (RecursionError(), "the input is nested too deeply")],
)
def test_more_than_there_is(
    run: Run, spec: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    module = importlib.import_module("pvspec.cli.commands.check")
    with monkeypatch.context() as broken:
        broken.setattr(module, "run", fail)
        done = run("check", spec)
        assert (done.code, done.out, done.err) == (1, "", f"error: {message}\n\n")
        done = run("check", spec, "--json")
        assert (done.code, done.json["errors"]) == (1, [message])
    monkeypatch.setattr("pvspec.cli.pieces", fail)
    done = run("check", spec, "--json")
    assert (done.code, done.out, done.err) == (1, "", f"error: {message}\n")


def test_memory_that_is_really_short(spec: Path) -> None:
    spec.write_text(SPEC + "#" * (64 << 20), encoding="utf-8")
    kilobytes = 200 << 10
    script = f'ulimit -v {kilobytes}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *PVSPEC, "check", "toy.pvs"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error")


@pytest.mark.parametrize("mebibytes", [22, 30, 44, 150])
def test_every_command_with_little_memory(command: tuple[str, ...], mebibytes: int) -> None:
    """Wherever it ends: as pvspec is loaded, or a library, as the grammar is read, in the assembler, the emulator."""
    script = f'ulimit -v {mebibytes << 10} && exec "$@"'
    python = ["sh", "-c", script, "sh", sys.executable]
    if subprocess.run([*python, "-c", "import argparse"], capture_output=True).returncode:
        pytest.skip("Python itself needs more")
    Path("out").write_bytes(OLD)
    done = subprocess.run(["sh", "-c", script, "sh", *PVSPEC, *command], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.rstrip().splitlines()
        assert done.returncode == 1
        assert len(lines) == 1
        assert lines[0].startswith("error: ") or lines[0] == "Could not allocate dynamic translator buffer"
        assert Path("out").read_bytes() == OLD
    assert left() == []


# ---- stopped


def has_handlers(process: subprocess.Popen[bytes]) -> bool:
    """Whether it catches SIGTERM: then pvspec has begun."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next((line for line in status.splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> signal.SIGTERM - 1 & 1)


def begun(command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([*PVSPEC, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None and not has_handlers(process):
        time.sleep(0.0005)
    return process


def moments(duration: float, count: int, seed: int) -> Iterator[tuple[float, signal.Signals]]:
    dice = random.Random(seed)
    yield from ((dice.uniform(0, duration), STOPS[number % len(STOPS)]) for number in range(count))


def test_stopped_at_any_moment(command: tuple[str, ...]) -> None:
    """What was to be written is what it was, or whole; what was read is untouched."""
    written = "ragged.pvs" if command[0] == "fmt" else "out"
    old = Path(written).read_bytes() if command[0] == "fmt" else OLD
    Path(written).write_bytes(old)
    began = time.monotonic()
    begun(command).communicate()
    duration = time.monotonic() - began
    new, stopped = Path(written).read_bytes(), 0
    for moment, number in moments(duration, 9, len(command[0])):
        Path(written).write_bytes(old)
        process = begun(command)
        time.sleep(moment)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert Path(written).read_bytes() in (old, new)
        assert left() == []
        assert b"Exception" not in errors
        if process.returncode == 0:
            continue
        assert process.returncode == -number, (moment, errors)
        assert re.fullmatch(rf"(error: stopped by {number.name}(: .*)?\n)?", errors.decode()), (
            "silence: at its very end"
        )
        stopped += errors != b""
    assert stopped


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A kernel that takes a while to write."""
    monkeypatch.setattr(f"{vmlinux.__module__}.SOURCE", f"{SOURCE}\n.fill 3145728, 8, 0x0123456789abcdef\n")
    path: Path = request.getfixturevalue("vmlinux")
    return path


@pytest.mark.parametrize("number", STOPS)
def test_stopped_while_it_writes(large: Path, number: signal.Signals) -> None:
    stopped = 0
    for _ in range(4):
        Path("out").write_bytes(OLD)
        process = begun(("apply", "vmlinux", *OPTIONS, "-o", "out"))
        while process.poll() is None and not writes(process):
            time.sleep(0.0005)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert left() == []
        assert process.returncode in (0, -number)
        if process.returncode:
            stopped += Path("out").read_bytes() == OLD
    assert stopped


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_that_is_ignored_stays_ignored(spec: Path, number: signal.Signals) -> None:
    """As under nohup, and of Ctrl-C in what a shell runs in the background."""

    def ignore() -> None:
        signal.signal(number, signal.SIG_IGN)

    process = subprocess.Popen(
        [*PVSPEC, "simulate", "--strategy", "two-stage"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=ignore,
    )
    for _ in range(20):
        process.send_signal(number)
        time.sleep(0.02)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")


def test_a_shell_script_stops_with_it(spec: Path) -> None:
    """Bash goes on to the next command after one that only exits with 130."""
    script = f'trap "" TERM; for n in 1 2 3; do {" ".join(PVSPEC)} simulate >/dev/null; echo "went on"; done'
    process = subprocess.Popen(
        ["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    time.sleep(0.8)
    os.killpg(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert b"went on" not in out
    assert b"Traceback" not in errors
    assert process.returncode == -signal.SIGINT


def test_handlers_are_as_they_were(run: Run, spec: Path) -> None:
    before = [signal.getsignal(number) for number in STOPS]
    assert run("check", spec).code == 0
    assert run("--help").code == 0
    assert [signal.getsignal(number) for number in STOPS] == before


def test_another_thread_can_run_it(spec: Path) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["check", str(spec)])))
    thread.start()
    thread.join()
    assert codes == [0]


LOST = """
import ctypes, os, signal, time
from pvspec.cli.outcome import conclude, end

def callback():
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(10):
        pass

def command():
    ctypes.CFUNCTYPE(None)(callback)()
    time.sleep(30)
    return 0

end(conclude(command))
"""


def test_a_signal_in_a_librarys_callback_is_not_lost() -> None:
    """It cannot raise through the library: ctypes would print it, and go on."""
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "error: stopped by SIGTERM\n")


def test_the_installed_command(spec: Path) -> None:
    """What pyproject.toml names is what `python -m pvspec` runs."""
    script = Path(sys.executable).with_name("pvspec")
    if not script.exists():
        pytest.skip("pvspec is not installed")
    done = subprocess.run([script, "check", str(spec)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{spec}: fine\n")
