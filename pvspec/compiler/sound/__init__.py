"""Checks that need code: does it fit, can it be reached, does it honour the op's contract?"""

from __future__ import annotations

from pvspec.compiler.assemble import Program
from pvspec.compiler.sound.contract import check_contracts
from pvspec.compiler.sound.fit import check_fit
from pvspec.compiler.sound.holes import check_holes
from pvspec.compiler.sound.names import check_names
from pvspec.compiler.sound.nops import check_nops
from pvspec.compiler.sound.order import check_order
from pvspec.compiler.sound.reach import check_reach
from pvspec.compiler.sound.slots import check_slots
from pvspec.compiler.sound.tests import check_expected
from pvspec.lang.diagnostics import Findings

__all__ = ["verify"]


def verify(program: Program, findings: Findings) -> None:
    """Report all findings about a program's code."""
    check_nops(program.spec, findings)
    check_fit(program, findings)
    check_reach(program, findings)
    check_contracts(program, findings)
    check_holes(program, findings)
    check_slots(program.spec, findings)
    check_order(program.spec, findings)
    check_names(program.spec, findings)
    check_expected(program.spec, findings)
