"""Code run in a CPU emulator: a `function` from a state to a state, a `machine` with pages and exceptions."""
