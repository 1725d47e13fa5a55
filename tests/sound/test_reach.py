"""Which arms can never fire: by the length and clobbers of those before, and by what guards exclude."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec
from pvspec.compiler.sound import reach

SPEC = """
machine pc {{ bits 32  feature A 1  feature B 2  nops p6 {{ "90" }}  choose nops p6 }}
interface ops {{
    table "t" {{ addr u32 type u8 len u8 clobber u16 }}
    registers {{ eax 1  ecx 2  edx 4 }}
    op fixed 3 len 6
    op free 4
    op stops 5 noreturn
}}
backend b for ops {{
    symbol g
    {op} = {arms}
    otherwise = keep
}}
passes {{ ops }}
"""


def never(tmp_path: Path, op: str, arms: str) -> int:
    """How many arms can never fire."""
    path = tmp_path / "reach.pvs"
    path.write_text(SPEC.format(op=op, arms=arms), encoding="utf-8")
    found = [finding for finding in check_spec(path).diagnostics if finding.code != "PV301"]
    assert {finding.code for finding in found} <= {"PV302"}, [finding.message for finding in found]
    return len({finding.labels[0].span.start for finding in found})


@pytest.mark.parametrize(
    ("op", "arms", "count"),
    [
        ("fixed", 'bytes "66 90" else nop', 1),  # 6 bytes are enough for the first one
        ("free", 'bytes "66 90" else nop', 0),
        ("free", 'nop else bytes "66 90"', 1),
        ("free", "call target clobbers any else nop", 0),
        ("fixed", "call target clobbers any else nop", 0),
        ("free", "nop when target is null else nop when target is g else nop", 0),
        ("free", "nop when target is null and target is g else nop", 1),
        ("free", "nop when cpu has A else nop when cpu has B else nop when cpu has A and cpu has B else nop", 1),
        ("free", "nop when cpu has A else nop when not cpu has A else nop", 1),
        ("free", "nop when op is noreturn else nop", 1),
        ("stops", "nop when op is noreturn else nop", 1),
    ],
)
def test_arms_that_never_fire(tmp_path: Path, op: str, arms: str, count: int) -> None:
    assert never(tmp_path, op, arms) == count


def test_with_too_many_guards_every_arm_may_fire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = "nop when cpu has A else nop when cpu has A and cpu has B else nop"
    assert never(tmp_path, "free", arms) == 1
    monkeypatch.setattr(reach, "MAX_SETTINGS", 4)
    assert never(tmp_path, "free", arms) == 1
    monkeypatch.setattr(reach, "MAX_SETTINGS", 3)
    assert never(tmp_path, "free", arms) == 0


@pytest.mark.parametrize(
    ("guard", "count"), [("v == 1 and v == 2", 1), ("v == 1 or v == 2", 0), ("v > 1 and v > 2", 0)]
)
def test_a_value_is_one_number(tmp_path: Path, guard: str, count: int) -> None:
    path = tmp_path / "reach.pvs"
    path.write_text(
        'machine pc { bits 32  nops p6 { "90" }  choose nops p6 }\n'
        f'family f {{ table "f" {{ site u32 v u32 }}  len 5  nop when {guard}  bytes "cc" }}\n'
        "passes { f }\n",
        encoding="utf-8",
    )
    assert [finding.code for finding in check_spec(path).diagnostics] == ["PV302"] * count
