"""Statements that were cached by earlier runs: they save asking the assembler, and change nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pvspec.support.cache import Cache
from pvspec.x86.assembler import assemble
from pvspec.x86.statements import MAX_STATEMENTS, StatementCache

SOURCE = "cmp byte ptr fs:[state + 1], 1; jne done; call check; lock inc dword ptr [eax]\ndone:"
SYMBOLS = ("state", "check")
COMPILE = """
import sys
from pvspec.cli import main
code = main(["compile", sys.argv[1], "-o", sys.argv[2], "--include", sys.argv[3]])
sys.exit(code or ("keystone" in sys.modules) * 7)
"""


@pytest.mark.parametrize("bits", [32, 64])
def test_equal_to_what_is_encoded_anew(bits: int, tmp_path: Path) -> None:
    source = SOURCE.replace("eax", "rax") if bits == 64 else SOURCE
    first = StatementCache(Cache(tmp_path))
    anew = assemble(source, bits, SYMBOLS, first)
    first.save()
    second = StatementCache(Cache(tmp_path))
    assert assemble(source, bits, SYMBOLS, second) == anew == assemble(source, bits, SYMBOLS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    second.save()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def entry(folder: Path) -> Path:
    (path,) = folder.glob("statements-*")
    return path


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"null", b"\xff", b'{"x": 5}'])
def test_an_entry_of_another_shape_is_no_entry(data: bytes, tmp_path: Path) -> None:
    """Shapes that an entry of ours could only have by a fault of ours: they are authentic."""
    cache = StatementCache(Cache(tmp_path))
    anew = assemble(SOURCE, 32, SYMBOLS, cache)
    cache.save()
    Cache(tmp_path).put("statements", entry(tmp_path).name.partition("-")[2], data, 1)
    assert assemble(SOURCE, 32, SYMBOLS, StatementCache(Cache(tmp_path))) == anew


@pytest.mark.parametrize(("code", "other"), [('"fa"', "17"), ('"fa"', '"fb"'), ('"fa"', '"90"'), ("fa", "fb")])
def test_an_entry_that_was_changed_is_encoded_anew(code: str, other: str, tmp_path: Path) -> None:
    """A nop in the place of an instruction would pass for what was read back."""
    cache = StatementCache(Cache(tmp_path))
    anew = assemble("cli", 32, (), cache)
    cache.save()
    data = entry(tmp_path).read_bytes()
    assert code.encode() in data
    entry(tmp_path).write_bytes(data.replace(code.encode(), other.encode()))
    assert assemble("cli", 32, (), StatementCache(Cache(tmp_path))) == anew


def test_too_many_statements_are_not_kept(tmp_path: Path) -> None:
    cache = StatementCache(Cache(tmp_path))
    assemble("\n".join(f"mov eax, {n}" for n in range(MAX_STATEMENTS + 1)), 32, (), cache)
    cache.save()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    Path(tmp_path, "file").touch()
    cache = StatementCache(Cache(tmp_path / "file" / "nowhere"))
    assemble("cli", 32, (), cache)
    cache.save()


def test_a_second_compilation_needs_no_assembler(tmp_path: Path) -> None:
    spec = Path(__file__).parents[1] / "pass" / "minimal.pvs"
    environment = {**os.environ, "PVSPEC_CACHE": str(tmp_path / "cache")}
    texts = []
    for expected in (7, 0):
        done = subprocess.run(
            [sys.executable, "-c", COMPILE, spec, tmp_path / "out.py", spec.parents[1]], env=environment
        )
        assert done.returncode == expected
        texts.append((tmp_path / "out.py").read_text())
    assert texts[0] == texts[1]
