"""Strategies for patching: what each writes, with primitives that a replay or a recorder provides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from pvspec.simulation.guest import TEXT, Guest, Site


class Primitives(Protocol):
    """What a strategy can do."""

    def in_place(self, address: int, code: bytes) -> None:
        """Write to the site directly, as early patch functions did."""

    def text_poke(self, address: int, code: bytes) -> None:
        """Write with the guest's text_poke."""

    def sync(self) -> None:
        """Wait for all processors."""

    def stack(self, size: int) -> bytes:
        """The contents of an uninitialised buffer on the stack."""


Strategy: TypeAlias = Callable[[Guest, Sequence[Site], Primitives], None]


def two_stage(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
    """The patch function writes into the site, then nop_out() pokes the padding, a nop at a time.

    As arch/i386/kernel/alternative.c, apply_paravirt() and nop_out(), before commit ab144f5ec64c.
    """
    for site in sites:
        insnbuf = bytearray(site.original)
        used = guest.kernel.patch(site.type, site.clobber, insnbuf, site.addr, site.len)
        if insnbuf != site.original:
            primitives.in_place(site.addr, bytes(insnbuf[:used]))
        while used < site.len:
            nop = guest.kernel.nops[min(site.len - used, len(guest.kernel.nops)) - 1]
            primitives.text_poke(site.addr + used, nop)
            used += len(nop)


def unfilled(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
    """One poke per site, from a buffer into which the original instructions were never copied.

    As apply_paravirt() at commit ab144f5ec64c: for unchanged sites `len` is returned, and the buffer is poked as is.
    """
    for site in sites:
        insnbuf = bytearray(primitives.stack(site.len))
        used = guest.kernel.patch(site.type, site.clobber, insnbuf, site.addr, site.len)
        guest.kernel.pad(insnbuf, used, site.len)
        primitives.text_poke(site.addr, bytes(insnbuf))


def marshalled(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
    """One poke per site, from a buffer initialised with the original instructions: the engine's applier."""
    guest.kernel.apply(guest.table(sites), guest.text, TEXT.start, poke=primitives.text_poke)


def breakpoint_first(guest: Guest, sites: Sequence[Site], primitives: Primitives) -> None:
    """int3, the tail, the first byte: the applier with `strategy="breakpoint"`, as text_poke_bp() of Linux 5.x."""
    options: dict[str, Any] = {"strategy": "breakpoint", "sync": primitives.sync}
    guest.kernel.apply(guest.table(sites), guest.text, TEXT.start, poke=primitives.text_poke, **options)


STRATEGIES: dict[str, Strategy] = {
    "two-stage": two_stage,
    "unfilled": unfilled,
    "marshalled": marshalled,
    "breakpoint": breakpoint_first,
}
