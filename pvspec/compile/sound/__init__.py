"""Checks that need the code: does it fit, is it ever reached, does it keep the op's contract?"""

from __future__ import annotations

from pvspec.compile.assemble import Program
from pvspec.compile.sound.contract import check_contracts
from pvspec.compile.sound.fit import check_fit
from pvspec.compile.sound.holes import check_holes
from pvspec.compile.sound.names import check_names
from pvspec.compile.sound.nops import check_nops
from pvspec.compile.sound.order import check_order
from pvspec.compile.sound.reach import check_reach
from pvspec.compile.sound.slots import check_slots
from pvspec.compile.sound.tests import check_expected
from pvspec.lang.diagnostics import Findings

__all__ = ["verify"]


def verify(program: Program, findings: Findings) -> None:
    """All findings about a program's code."""
    check_nops(program.spec, findings)
    check_fit(program, findings)
    check_reach(program, findings)
    check_contracts(program, findings)
    check_holes(program, findings)
    check_slots(program.spec, findings)
    check_order(program.spec, findings)
    check_names(program.spec, findings)
    check_expected(program.spec, findings)
