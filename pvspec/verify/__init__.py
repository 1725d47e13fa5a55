"""Checks that need the code: does it fit, is it ever reached, does it keep the op's contract?"""

from __future__ import annotations

from pvspec.assemble import Program
from pvspec.diagnostics import Findings
from pvspec.verify.contract import check_contracts
from pvspec.verify.fit import check_fit
from pvspec.verify.holes import check_holes
from pvspec.verify.nops import check_nops
from pvspec.verify.order import check_order
from pvspec.verify.reach import check_reach
from pvspec.verify.slots import check_slots

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
