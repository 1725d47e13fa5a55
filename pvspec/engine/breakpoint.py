"""Writing code that other processors may be running: a breakpoint first, and its first byte last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pvspec.engine.errors import PatchError

STRATEGIES = ("marshalled", "breakpoint")
INT3 = b"\xcc"


def breakpoint_steps(address: int, code: bytes) -> Iterator[tuple[int, bytes]]:
    """The writes, (address, bytes) each, by which a site may change under the processors that run it.

    As Linux 5.10 arch/x86/kernel/alternative.c, text_poke_bp_batch(): int3 over the first byte, then all bytes but
    the first, then the first. Whoever comes by in between traps, and the trap's handler goes on elsewhere.
    """
    if code:
        yield address, INT3
    if len(code) > 1:
        yield address + 1, code[1:]
    if code:
        yield address, code[:1]


def poke_by(
    strategy: str, poke: Callable[[int, bytes], object], sync: Callable[[], object] | None
) -> Callable[[int, bytes], object]:
    """How a whole site is written by a strategy, with this `poke` for each write; PatchError if there is none such.

    `sync()` is called after each write. It returns when every processor has serialised, so that none still runs
    what it fetched before, and none is inside a site: a breakpoint stops who comes, not who is there.
    """
    if strategy not in STRATEGIES:
        raise PatchError(f"there is no strategy {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if strategy == "marshalled" and sync is None:
        return poke

    def poked(address: int, code: bytes) -> None:
        steps = breakpoint_steps(address, code) if strategy == "breakpoint" else [(address, code)]
        for step in steps:
            poke(*step)
            if sync is not None:
                sync()

    return poked
