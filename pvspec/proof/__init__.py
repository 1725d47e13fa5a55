"""What is proven about a program, how, and what is not.

`verdicts` goes through the ops of each backend, `equivalence` runs code against its meaning in the `emulator`,
`decoders` compares two disassemblers on each instruction, `regions` decides when each arm fires.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.order import unknown_overlaps
from pvspec.engine.value import Value
from pvspec.lang.diagnostics import Diagnostic, Findings, SpecError
from pvspec.lang.target import ANY, Target, wanted
from pvspec.proof.decoders import Decoders, compare_decoders
from pvspec.proof.regions import Regions, Undecided, all_regions
from pvspec.proof.verdicts import EMULATED, PROVEN, UNPROVEN, Cell, Prover, Verdict

__all__ = [
    "EMULATED",
    "PROVEN",
    "UNPROVEN",
    "Cell",
    "Proof",
    "Regions",
    "Undecided",
    "Verdict",
    "prove",
    "prove_all",
    "prove_program",
]


class Proof(Value):
    """The results of `prove`, for one kernel.

    `cells`: backend to a cell for each op. `nops`: nop table to the states run. `overlaps`: pairs of passes that are
    assumed to have no site in common. `regions`: when each arm of each chain fires.
    """

    target: Target
    program: Program
    cells: Mapping[str, tuple[Cell, ...]]
    nops: Mapping[str, int]
    decoders: Decoders
    overlaps: tuple[tuple[str, str], ...]
    regions: tuple[Regions | Undecided, ...]
    diagnostics: tuple[Diagnostic, ...]

    def __repr__(self) -> str:
        return f"Proof({len(self.cells)} backends, {len(self.diagnostics)} findings)"

    def lines(self, *, regions: bool = False) -> Iterator[str]:
        """What was proven, how, and what was not, as text; with `regions`, also when each arm of each chain fires."""
        from pvspec.proof.report import lines

        return lines(self, regions)

    def as_json(self, *, regions: bool = False) -> dict[str, object]:
        """The same as JSON data; see docs/commands.md."""
        from pvspec.proof.report import as_json

        return as_json(self, regions)


def prove(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Proof:
    """Prove what can be proven about a spec's code; wrong code is reported in the diagnostics.

    `kernel` and `machine`: which of its kernels is meant, as "6.1" and "x86_64"; TargetError if none is, or several may
    be. `include`: folders of which it may include files, besides its own and the shipped specs. SpecError if the spec
    is invalid.
    """
    from pvspec.compiler.pipeline import check_the_one

    checked = check_the_one(Path(path), wanted(kernel, machine), include)
    (target,) = checked.all_sound()
    return prove_program(checked.sound(), target)


def prove_all(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> list[Proof]:
    """The same for each of a spec's kernels, or those that `kernel` and `machine` choose.

    What is reported for several of them is in the diagnostics of the first one.
    """
    from pvspec.compiler.pipeline import check_spec

    checked = check_spec(path, kernel=kernel, machine=machine, include=include)
    proofs = [prove_program(program, target) for target, program in checked.all_sound().items()]
    told = checked.merged({proof.target: proof.diagnostics for proof in proofs})
    return [proof.changed(diagnostics=told[proof.target]) for proof in proofs]


def prove_program(program: Program, target: Target = ANY) -> Proof:
    """Prove what can be proven about a checked program; wrong code is reported in the diagnostics."""
    findings = Findings()
    prover = Prover(program, findings)
    nops = prover.nops()
    cells = {backend.name: found for backend, found in prover.cells()}
    decoders = compare_decoders(program, findings)
    regions = tuple(all_regions(program, findings.work))
    _check_never(regions, program, findings)
    overlaps = tuple(unknown_overlaps(program.spec, findings.work))
    return Proof(target, program, cells, nops, decoders, overlaps, regions, SpecError(findings.found).diagnostics)


def _check_never(regions: tuple[Regions | Undecided, ...], program: Program, findings: Findings) -> None:
    """PV302 for an arm that fires for no site at all.

    Arms of named chains and ROMs are left to `check`: not every rule that uses them has sites for each arm.
    """
    shared = {arm.span for chain in program.spec.chains.values() for arm in chain}
    roms = [rom for backend in program.spec.backends.values() for rom in backend.roms.values()]
    shared |= {arm.span for rom in roms for chain in rom.chains() for arm in chain}
    decided = [found for found in regions if isinstance(found, Regions)]
    fired = {arm for found in decided for arm, _ in found.fires}
    undecided = {found.owner for found in regions if isinstance(found, Undecided)}
    for arm in dict.fromkeys(arm for found in decided if found.owner not in undecided for arm in found.never):
        if arm not in fired and arm.span not in shared:
            findings.add("PV302", "an arm that can never be reached", (arm.span, "never fires"))
