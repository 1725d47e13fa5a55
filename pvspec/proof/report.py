"""A proof as lines of text, and as JSON data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pvspec.lang import model
from pvspec.proof import Cell, Proof
from pvspec.proof.regions import Regions, Undecided, described
from pvspec.proof.verdicts import EMULATED, UNPROVEN

_PREFERRED = ("the same code", "the same call", "the same jump", "patching stops", "the site stays as it is")


def lines(proof: Proof, regions: bool) -> Iterator[str]:
    """What was proven, how, and what was not; with `regions`, also when each arm of each chain fires."""
    yield from _table(proof)
    yield from _reasons(proof)
    for name, states in proof.nops.items():
        yield f"nops {name}: emulated, {states} states"
    decoders = proof.decoders
    if decoders.instructions:
        yield f"instructions: {decoders.instructions}, read by two decoders"
    for text, what in _gathered(decoders.left_out):
        yield f"  only the first one reports: {text} {what}"
    for text, what in _gathered(decoders.added):
        yield f"  only the second one reports: {text} {what}"
    for first, later in proof.overlaps:
        yield f"assumed: no site of `{first}` is also a site that `{later}` must recognise"
    if regions:
        yield from _region_lines(proof)


def as_json(proof: Proof, regions: bool) -> dict[str, object]:
    """The same as data; see docs/commands.md."""
    decoders = proof.decoders
    result: dict[str, object] = {
        "backends": {name: [_cell_json(cell) for cell in cells] for name, cells in proof.cells.items()},
        "nops": dict(proof.nops),
        "instructions": decoders.instructions,
        "second_decoder_leaves_out": [list(pair) for pair in decoders.left_out],
        "second_decoder_adds": [list(pair) for pair in decoders.added],
        "assumed_disjoint": [list(pair) for pair in proof.overlaps],
    }
    if regions:
        result["chains"] = [_regions_json(found, proof) for found in proof.regions]
    return result


def _gathered(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    gathered: dict[str, list[str]] = {}
    for text, what in pairs:
        gathered.setdefault(text, []).append(what)
    return ((text, ", ".join(whats)) for text, whats in gathered.items())


def _table(proof: Proof) -> Iterator[str]:
    """A row for each op, or for several ops with the same verdicts."""
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
    why = next((why for why in _PREFERRED if why in whys), "for one target only")
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


def _region_lines(proof: Proof) -> Iterator[str]:
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


def _cell_json(cell: Cell) -> dict[str, object]:
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


def _regions_json(found: Regions | Undecided, proof: Proof) -> dict[str, object]:
    head: dict[str, object] = {"owner": found.owner, "ops": list(found.ops)}
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
