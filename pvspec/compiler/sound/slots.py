"""A site must show unambiguously which slot it goes through."""

from __future__ import annotations

from itertools import combinations

from pvspec.lang import model
from pvspec.lang.diagnostics import Findings


def check_slots(spec: model.Spec, findings: Findings) -> None:
    """PV306 for each pair of `slot`s of which one begins like the other."""
    interface = spec.interface
    for first, second in combinations(interface.slots, 2) if interface is not None else ():
        shorter, longer = sorted((first.prefix, second.prefix), key=len)
        if longer.startswith(shorter) and interface is not None:
            findings.add(
                "PV306",
                f"a site that begins with `{longer.hex(' ')}` can be read in two ways",
                (interface.span, f"its slots begin with `{shorter.hex(' ')}` too"),
                help="make the shorter beginning longer, or remove one",
            )
