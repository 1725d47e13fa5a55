"""Files of symbols, by what they are."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import tarfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from pvspec.kernel import ImageError
from pvspec.kernel.files import streams
from pvspec.kernel.symbols import table
from pvspec.kernel.symbols.symbol_file import SymbolFile
from pvspec.kernel.symbols.table import Symbol
from pvspec.kernel.work import Work

MAP = b"c1000000 T _text\nc1000010 t f\n"
SYMBOLS = [Symbol(0xC1000000, "T", "_text"), Symbol(0xC1000010, "t", "f")]


def package(member: str, contents: bytes) -> bytes:
    """A deb(5) whose data.tar has one file."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(contents)
        tar.addfile(info, io.BytesIO(contents))
    parts = {b"debian-binary": b"2.0\n", b"control.tar": b"", b"data.tar": archive.getvalue()}
    out = b"!<arch>\n"
    for name, data in parts.items():
        out += b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (name, 0, 0, 0, 0o100644, len(data)) + data + b"\n" * (len(data) % 2)
    return out


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "symbols"


def test_a_map(file: Path) -> None:
    file.write_bytes(MAP)
    assert list(SymbolFile.of(file).symbols(Work())) == SYMBOLS


def test_a_package_of_debug_symbols(file: Path) -> None:
    file.write_bytes(package("./usr/lib/debug/boot/System.map-6.1.0-50-686-pae", MAP))
    assert list(SymbolFile.of(file).symbols(Work())) == SYMBOLS


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (package("./boot/System.map-6.1.0-50-686-pae", MAP), "not a kernel's package of debug symbols"),
        (package("./usr/lib/debug/boot/System.map-6.1", MAP)[:300], "damaged Debian package|lacks"),
        (b"\x7fELF", "ELF"),
        (b"\xff\xfe", "cannot be read as a System.map"),
        (b"no map", "not a System.map line"),
        (b"-1 T below", "not a System.map line"),
        (b"10000000000000000 T above", "not a System.map line"),
        (b"c1000000 Tt of_two_kinds", "not a System.map line"),
    ],
)
def test_what_is_none(file: Path, contents: bytes, message: str) -> None:
    file.write_bytes(contents)
    with pytest.raises(ImageError, match=message) as error:
        list(SymbolFile.of(file).symbols(Work()))
    assert str(error.value).startswith(str(file))


def test_no_file(file: Path) -> None:
    with pytest.raises(ImageError, match="cannot be read"):
        list(SymbolFile.of(file).symbols(Work()))


def test_a_small_file_takes_little_memory(file: Path) -> None:
    file.write_bytes(MAP)
    read = (
        "from pvspec.kernel.symbols.symbol_file import SymbolFile; from pvspec.kernel.work import Work; "
        f"print(*SymbolFile.of({str(file)!r}).symbols(Work()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", read],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
        capture_output=True,
        text=True,
    )
    assert done.stdout == " ".join(map(str, SYMBOLS)) + "\n", done.stderr


def test_a_file_without_end() -> None:
    with pytest.raises(ImageError, match=r"^/dev/zero: it is larger than 134217728 bytes"):
        list(SymbolFile.of("/dev/zero").symbols(Work()))


def test_a_pipe_is_a_file(file: Path) -> None:
    os.mkfifo(file)
    with subprocess.Popen(["sh", "-c", 'cat >"$0"', file], stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(MAP)
        writer.stdin.close()
        assert list(SymbolFile.of(file).symbols(Work())) == SYMBOLS


def test_a_pipe_without_a_writer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_MAX_PATIENCE", 0)
    os.mkfifo(file)
    with pytest.raises(ImageError, match="is a pipe to which nobody has written"):
        list(SymbolFile.of(file).symbols(Work()))


def test_more_text_than_a_map_has(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes, by lines, and by the bytes of a line."""
    monkeypatch.setattr(table, "_MAX_MAP", 1000)
    monkeypatch.setattr(table, "MAX_SYMBOLS", 40)
    line = b"c1000000 T f\n"
    for contents, message in [
        (line * 40, ""),
        (line * 41, "41 lines, which are too many"),
        (bytes(1001), "1001 bytes, which are too many"),
        (b"\x0b" * 500, "line 1 is not a System.map line"),
    ]:
        file.write_bytes(contents)
        with pytest.raises(ImageError, match=message) if message else nullcontext():
            assert len(list(SymbolFile.of(file).symbols(Work()))) == 40
    monkeypatch.setattr(table, "_MAX_LINE", 20)
    file.write_bytes(b"c1000000 T long_enough\n")
    with pytest.raises(ImageError, match=r"line 1 is not a System\.map line"):
        list(SymbolFile.of(file).symbols(Work()))
