"""Checks that need the code: does it fit, is it ever reached, does it keep the op's contract?"""

from __future__ import annotations

from pvspec.assemble import Program
from pvspec.diagnostics import Findings
from pvspec.verify.contract import check_contracts
from pvspec.verify.fit import check_fit
from pvspec.verify.nops import check_nops
from pvspec.verify.reach import check_reach

__all__ = ["verify"]


def verify(program: Program, findings: Findings) -> None:
    """All findings about a program's code."""
    check_nops(program.spec, findings)
    check_fit(program, findings)
    check_reach(program, findings)
    check_contracts(program, findings)
