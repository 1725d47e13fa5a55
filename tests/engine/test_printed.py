"""What a printed module says about itself, and how it is laid out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pvspec.compiler.pipeline import compile_spec
from pvspec.compiler.printout.literals import WIDTH

BASE = Path(__file__).parents[1] / "base.pvs"
SPEC = """include "base.pvs"
backend native for paravirt_ops {{
    clts      = asm "clts"  # {comment}
    otherwise = default
}}
"""


def printed(folder: Path, comment: str) -> list[str]:
    shutil.copy(BASE, folder)
    path = folder / "spec.pvs"
    path.write_text(SPEC.format(comment=comment), encoding="utf-8")
    return compile_spec(path).splitlines()


def test_the_digest_is_of_the_text(tmp_path: Path) -> None:
    one, other = printed(tmp_path, "x" * 200 + "1"), printed(tmp_path, "x" * 200 + "2")
    assert one == printed(tmp_path, "x" * 200 + "1")
    assert [line[:8] for line, same in zip(one, other, strict=True) if line != same] == ["(sha256 "]


@pytest.mark.parametrize("size", [*range(50, 90), 400])
def test_comments_are_cut(tmp_path: Path, size: int) -> None:
    whole = f'clts      = asm "clts"  # {"x" * size}'
    line = next(line for line in printed(tmp_path, "x" * size) if "# xxx" in line)
    where, _, shown = line.partition("  clts")
    if len(f"{where}  {whole}") <= WIDTH - 2:
        assert f"clts{shown}" == whole
    else:
        assert len(line) == WIDTH - 2
        assert f"{where}  {whole}".startswith(line[:-1])
        assert line.endswith("x…")
