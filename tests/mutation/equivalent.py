"""Mutants that no test can notice, by name, and why."""

from __future__ import annotations

EQUIVALENT: dict[str, str] = {}
