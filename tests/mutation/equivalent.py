"""Mutants that no test can notice, by name, and why."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {
    "pvspec/lang/parse/recovery.py: items without what is right are not told": (
        "where each construct follows the grammar, so does the item; it reports what would otherwise be lost in silence"
    ),
}
