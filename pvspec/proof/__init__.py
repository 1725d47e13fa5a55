"""What is proven of a program, how, and what is not.

`verdicts` goes through the ops of each backend, `equivalence` runs code against its meaning in the `emulator`,
`witnesses` asks a second library about each instruction, `regions` decides when each arm fires.
"""

from __future__ import annotations

from pvspec import model
from pvspec.assemble import Program
from pvspec.diagnostics import Diagnostic, Findings, SpecError
from pvspec.proof.regions import Regions, Undecided, all_regions
from pvspec.proof.verdicts import EMULATED, PROVEN, UNPROVEN, Cell, Prover, Verdict
from pvspec.proof.witnesses import Witnesses, cross_examine
from pvspec.runtime.rules import Value
from pvspec.verify.order import unknown_overlaps

__all__ = ["EMULATED", "PROVEN", "UNPROVEN", "Cell", "Proof", "Regions", "Undecided", "Verdict", "prove"]


class Proof(Value):
    """All of it.

    `cells`: backend to a cell for each op. `nops`: nop table to the states run. `overlaps`: pairs of passes that are
    taken to have no site in common. `regions`: empty if they were not asked for.
    """

    program: Program
    cells: dict[str, tuple[Cell, ...]]
    nops: dict[str, int]
    witnesses: Witnesses
    overlaps: tuple[tuple[str, str], ...]
    regions: tuple[Regions | Undecided, ...]
    diagnostics: tuple[Diagnostic, ...]


def prove(program: Program) -> Proof:
    """Prove what can be proven of a program that was checked; what is wrong is among the diagnostics."""
    findings = Findings()
    prover = Prover(program, findings)
    nops = prover.nops()
    cells = {backend.name: found for backend, found in prover.cells()}
    witnesses = cross_examine(program, findings)
    regions = tuple(all_regions(program))
    _check_never(regions, findings)
    overlaps = tuple(unknown_overlaps(program.spec))
    return Proof(program, cells, nops, witnesses, overlaps, regions, SpecError(findings.found).diagnostics)


def _check_never(regions: tuple[Regions | Undecided, ...], findings: Findings) -> None:
    """PV302 for an arm that fires in no region of any chain that has it: `check` looks at named chains on their own."""
    decided = [found for found in regions if isinstance(found, Regions)]
    fired = {arm for found in decided for arm, _ in found.fires}
    open_places = {place for found in regions if isinstance(found, Undecided) for place in (found.owner,)}
    never: dict[str, model.Arm] = {a.span.where: a for f in decided for a in f.never if f.owner not in open_places}
    fired_places = {arm.span.where for arm in fired if arm is not None}
    for where, arm in never.items():
        if where not in fired_places and isinstance(arm.action, model.Query | model.Copy) is False:
            findings.add("PV302", "an arm that can never be reached", (arm.span, "never fires"))
