"""Code run in a CPU emulator: a `function` from a state to a state, a `machine` with pages and exceptions."""

MAX_TRANSLATED = 8 << 20
"""Bytes of host code that the emulator keeps of what it has translated; when they are full, it translates anew."""
