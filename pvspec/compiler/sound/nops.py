"""Nop tables: entries must be whole instructions."""

from __future__ import annotations

from pvspec.lang import model
from pvspec.lang.diagnostics import Findings
from pvspec.x86.decode import disassemble


def check_nops(spec: model.Spec, findings: Findings) -> None:
    """A finding for each nop that does not decode."""
    for name, table in spec.machine.nops.items():
        for code, span in zip(table, spec.nops[name], strict=True):
            if any(instruction.text == "(bad)" for instruction in disassemble(code, spec.machine.bits)):
                findings.add("PV402", "a nop that is not a valid instruction", (span, f"in the nop table `{name}`"))
