"""The second library: what it leaves out is named, what it adds counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec.compiler.pipeline import check_spec
from pvspec.lang.diagnostics import Findings
from pvspec.proof.decoders import Decoders, compare_decoders
from pvspec.support.paths import resource
from pvspec.x86 import decode


def test_what_it_leaves_out() -> None:
    findings = Findings()
    seen = compare_decoders(check_spec(resource("specs", "linux-2.6.23", "i386")).sound(), findings)
    assert findings.found == []
    assert seen.instructions > 40
    assert ("sysexit", "reads ecx") in seen.left_out
    assert all(text.startswith("sysexit") for text, _ in seen.added)


def asked(folder: Path, contract: str, code: str) -> tuple[Decoders, list[str]]:
    folder.joinpath("case.pvs").write_text(
        f"""machine m {{ bits 32 nops n {{ "90" }} choose nops n }}
            interface ops {{
                table ".t" {{ addr u32  type u8  len u8  clobber u8 }}
                registers {{ eax 1 }}
                op it 1 {contract}
            }}
            backend b for ops {{ it = asm "{code}" }}""",
        encoding="utf-8",
    )
    findings = Findings()
    seen = compare_decoders(check_spec(folder / "case.pvs").sound(), findings)
    return seen, [found.labels[0].text for found in findings.found]


@pytest.mark.parametrize(("contract", "told"), [("(eax)", True), ("(eax) clobbers ebx", False)])
def test_what_it_adds_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: str, told: bool) -> None:
    real = decode.second_facts

    def claims_more(data: bytes, bits: int) -> decode.Facts | None:
        facts = real(data, bits)
        return facts and facts.changed(writes=facts.writes | {"bl"})

    monkeypatch.setattr("pvspec.proof.decoders.second_facts", claims_more)
    seen, messages = asked(tmp_path, contract, "mov cr3, eax")
    assert bool(messages) == told
    assert ("mov cr3, eax", "writes ebx") in seen.added or told


def test_where_it_is_wrong_it_does_not_count(tmp_path: Path) -> None:
    assert asked(tmp_path, "(eax) -> edx", "cdq")[1] == []
    assert asked(tmp_path, "(eax)", "test eax, 1")[1] == []
