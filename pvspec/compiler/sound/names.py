"""Symbols that code cannot refer to, because the assembler reads the word as something else."""

from __future__ import annotations

from pvspec.lang import model
from pvspec.lang.diagnostics import Findings
from pvspec.x86.intel import REGISTERS


def check_names(spec: model.Spec, findings: Findings) -> None:
    """PV103 for each symbol with the name of a register."""
    known = [spec.interface.names] if spec.interface is not None else []
    known += [backend.names for backend in spec.backends.values()]
    known += [family.names for family in spec.families.values()]
    for names in known:
        for symbol in names.symbols.values():
            if symbol.name.lower() in REGISTERS:
                text = "code would mean the register"
                findings.add("PV103", f"`{symbol.name}` cannot name a symbol", (symbol.span, text))
