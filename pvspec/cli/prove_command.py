"""`pvspec prove`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pvspec.cli.report import Report
from pvspec.compiler.pipeline import check_spec
from pvspec.lang import model
from pvspec.lang.diagnostics import SpecError
from pvspec.proof import EMULATED, UNPROVEN, Cell, Proof, Regions, Undecided, prove
from pvspec.proof.regions import described

_TELLING = ("the same code", "the same call", "the same jump", "patching stops", "kept")


def run(arguments: argparse.Namespace, report: Report) -> None:
    """Prove each spec's code, and report what was shown of it, how, and what was not."""
    proofs: list[dict[str, Any]] = []
    report.result = {"proofs": proofs}
    for spec in arguments.specs:
        try:
            proof = prove(check_spec(Path(spec)).sound())
        except SpecError as error:
            report.found(error.diagnostics)
            continue
        report.found(proof.diagnostics)
        proofs.append({"spec": spec, **_json(proof, arguments.regions)})
        for line in (*_told(spec, proof), *(_regions_told(proof) if arguments.regions else ())):
            report.say(line)


# ---- for people


def _told(spec: str, proof: Proof) -> Iterator[str]:
    yield f"{spec}"
    yield from _table(proof)
    yield from _reasons(proof)
    for name, states in proof.nops.items():
        yield f"nops {name}: emulated, {states} states"
    seen = proof.witnesses
    if seen.instructions:
        yield f"instructions: {seen.instructions}, asked of iced-x86 and of capstone"
    for text, what in _gathered(seen.left_out):
        yield f"  capstone leaves out: {text} {what}"
    for text, what in _gathered(seen.added):
        yield f"  only capstone says: {text} {what}"
    for first, later in proof.overlaps:
        yield f"assumed: no site is both in `{first}` and, as an instruction to recognise, in `{later}`"


def _gathered(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    gathered: dict[str, list[str]] = {}
    for text, what in pairs:
        gathered.setdefault(text, []).append(what)
    return ((text, ", ".join(whats)) for text, whats in gathered.items())


def _table(proof: Proof) -> Iterator[str]:
    """A row for each op, or for ops that all backends treat alike."""
    backends = list(proof.cells)
    rows: dict[tuple[str, ...], list[str]] = {}
    for cells in zip(*proof.cells.values(), strict=True):
        texts = tuple(map(_text, cells))
        alone = any(cell.kind == EMULATED or _text(cell) == "same code" for cell in cells)
        rows.setdefault((*texts, cells[0].op.name if alone else ""), []).append(cells[0].op.name)
    lines = [("op", *backends), *((_ops(names), *texts[: len(backends)]) for texts, names in rows.items())]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines if backends else ():
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()


def _ops(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _text(cell: Cell) -> str:
    whys = [verdict.why for verdict in cell.verdicts]
    if cell.kind == UNPROVEN:
        return "not provable here"
    if cell.kind == EMULATED:
        return f"emulated ({cell.states} states)"
    why = next((why for why in _TELLING if why in whys), "for one target only")
    return f"proven: {why.removeprefix('the ')}"


def _reasons(proof: Proof) -> Iterator[str]:
    for word, wanted in (("not provable here", False), ("assumed", True)):
        reasons: dict[str, list[str]] = {}
        for backend, cells in proof.cells.items():
            for cell in cells:
                for verdict in cell.verdicts:
                    for why in verdict.assumes if wanted else [verdict.why] if verdict.kind == UNPROVEN else []:
                        names = reasons.setdefault(f"{backend}: {why}", [])
                        names += [cell.op.name] if cell.op.name not in names else []
        for reason, names in reasons.items():
            yield f"{word}: {reason} ({_ops(names) if len(names) > 6 else ', '.join(names)})"


def _regions_told(proof: Proof) -> Iterator[str]:
    for found in proof.regions:
        ops = f" {_ops(found.ops) if len(found.ops) > 6 else ', '.join(found.ops)}" if found.ops else ""
        yield f"{found.owner}{ops}:"
        if isinstance(found, Undecided):
            yield f"  not decided: {found.cells} cases"
            continue
        for arm, boxes in found.fires:
            yield f"  {_arm(arm)}"
            for box in boxes:
                yield f"    {described(box, found, proof.program)}"


def _arm(arm: model.Arm | None) -> str:
    return "keep (unwritten)" if arm is None else f"{arm.span.where}  {' '.join(arm.span.text.split())}"


# ---- for machines


def _json(proof: Proof, with_regions: bool) -> dict[str, Any]:
    seen = proof.witnesses
    result: dict[str, Any] = {
        "backends": {name: [_cell_json(cell) for cell in cells] for name, cells in proof.cells.items()},
        "nops": proof.nops,
        "instructions": seen.instructions,
        "capstone_leaves_out": [list(pair) for pair in seen.left_out],
        "only_capstone_says": [list(pair) for pair in seen.added],
        "assumed_disjoint": [list(pair) for pair in proof.overlaps],
    }
    if with_regions:
        result["chains"] = [_regions_json(found, proof) for found in proof.regions]
    return result


def _cell_json(cell: Cell) -> dict[str, Any]:
    return {
        "op": cell.op.name,
        "verdict": cell.kind,
        "states": cell.states,
        "arms": [
            {
                "rule": verdict.arm.span.where,
                "verdict": verdict.kind,
                "states": verdict.states,
                "why": verdict.why,
                "assumes": list(verdict.assumes),
            }
            for verdict in cell.verdicts
        ],
    }


def _regions_json(found: Regions | Undecided, proof: Proof) -> dict[str, Any]:
    head: dict[str, Any] = {"owner": found.owner, "ops": list(found.ops)}
    if isinstance(found, Undecided):
        return {**head, "decided": False, "cases": found.cells}
    fires = [
        {
            "rule": None if arm is None else arm.span.where,
            "when": [described(box, found, proof.program) for box in boxes],
        }
        for arm, boxes in found.fires
    ]
    return {**head, "decided": True, "fires": fires}
