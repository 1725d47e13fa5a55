"""One processor that runs the code it patches: each strategy, poke by poke."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import permutations
from typing import NamedTuple

from pvspec.simulation.guest import RETURN, STACKS, Guest, Site
from pvspec.simulation.strategies import STRATEGIES
from pvspec.x86.emulator.machine import BREAKPOINT, INT3, PAGE, REGISTERS, Executed, Stop

_INSNBUF = STACKS[0].start + PAGE - 256  # apply_paravirt()'s buffer: char insnbuf[MAX_PATCH_LEN]
_FRAME = _INSNBUF - 16  # the stack pointer at its calls
_EARLIER = _INSNBUF + 24  # the stack pointer of earlier calls, which leave return addresses and registers in the buffer
_MAX_INSTRUCTIONS = 2000
"""Instructions that one poke of `simulate` may run, where about 80 do; one that runs longer is reported as a fault."""
_FLAGS = 0x202


class Step(NamedTuple):
    """One write of a strategy, and what ran for it.

    `torn`: indices in the trace of instructions in a site that was neither the original nor the final code at that
    time (int3 excepted). `fault`: the exception that ended it. `traps`: how many breakpoints it met and survived.
    """

    stage: str  # `in place`, or `poke`
    site: Site
    address: int
    code: bytes
    trace: tuple[Executed, ...] = ()
    torn: tuple[int, ...] = ()
    fault: Stop | None = None
    traps: int = 0


class Replay(NamedTuple):
    """The result of one order of the sites; `wrong` are the sites that did not end right."""

    strategy: str
    order: tuple[Site, ...]
    steps: tuple[Step, ...]
    wrong: tuple[Site, ...]

    @property
    def fault(self) -> Stop | None:
        """The exception that ended it."""
        return self.steps[-1].fault if self.steps else None

    @property
    def torn(self) -> bool:
        """Whether a half-patched site was run."""
        return any(step.torn for step in self.steps)

    @property
    def survived(self) -> bool:
        """Whether nothing torn ran, nothing failed, and all sites are right."""
        return self.fault is None and not self.torn and not self.wrong


class _Crash(Exception):
    """The guest cannot continue."""


def replay(guest: Guest, strategy: str, order: Sequence[Site]) -> Replay:
    """Patch the guest's sites in this order, in a machine of its own."""
    processor = _Processor(guest)
    with suppress(_Crash):
        STRATEGIES[strategy](guest, order, processor)
    wrong = tuple(site for site in guest.sites if processor.code(site) != guest.patched(site))
    return Replay(strategy, tuple(order), tuple(processor.steps), wrong)


def replays(guest: Guest, strategy: str) -> Iterator[Replay]:
    """A replay of every order of the sites."""
    for order in permutations(guest.sites):
        yield replay(guest, strategy, order)


class _Processor:
    """The primitives of a strategy, in a machine: they call the guest's text_poke."""

    def __init__(self, guest: Guest) -> None:
        self.steps: list[Step] = []
        self._guest = guest
        self._machine = guest.machine()
        self._intact = {site: (site.original, guest.patched(site)) for site in guest.sites}
        # The kernel has poked before, deeper in the call chain: that is where the garbage on its stack comes from.
        self._poke(guest.sites[0], RETURN + 8, INT3, _EARLIER)

    def code(self, site: Site) -> bytes:
        """The code at a site."""
        return self._machine.read(site.addr, site.len)

    def in_place(self, address: int, code: bytes) -> None:
        self._machine.write(address, code)
        self.steps.append(Step("in place", self._site(address), address, code))

    def text_poke(self, address: int, code: bytes) -> None:
        half_patched = [site for site in self._guest.sites if self.code(site) not in self._intact[site]]
        step = self._poke(self._site(address), address, code, _FRAME)
        torn = tuple(index for index, ran in enumerate(step.trace) if _torn(ran, half_patched))
        self.steps.append(step._replace(torn=torn))
        if step.fault:
            raise _Crash

    def sync(self) -> None:
        """Does nothing: there is only one processor."""

    def stack(self, size: int) -> bytes:
        return self._machine.read(_INSNBUF, size)

    def _site(self, address: int) -> Site:
        return next(site for site in self._guest.sites if site.addr <= address < site.end)

    def _poke(self, site: Site, address: int, code: bytes, stack: int) -> Step:
        """Call text_poke, and emulate the handler of breakpoints that it meets."""
        self._machine.write(_INSNBUF, code)
        self._machine.write(stack, RETURN.to_bytes(4, "little"))
        registers = dict.fromkeys(REGISTERS, 0) | {"esp": stack, "eflags": _FLAGS}
        registers |= {"eax": address, "edx": _INSNBUF, "ecx": len(code), "eip": self._guest.symbols["text_poke"]}
        trace: list[Executed] = []
        traps = 0
        while (stop := self._machine.run(registers, RETURN, _MAX_INSTRUCTIONS)).fault == BREAKPOINT:
            if stop.address not in self._guest.detours or traps == _MAX_INSTRUCTIONS:
                break
            trace += self._machine.trace
            traps += 1
            registers = self._machine.registers() | {"eip": self._guest.detours[stop.address]}
        if not stop.fault and stop.address != RETURN:
            stop = Stop(stop.address, f"no return after {_MAX_INSTRUCTIONS} instructions")
        fault = stop if stop.fault else None
        return Step("poke", site, address, code, (*trace, *self._machine.trace), (), fault, traps)


def _torn(ran: Executed, half_patched: Sequence[Site]) -> bool:
    return ran.code != INT3 and any(site.addr <= ran.address < site.end for site in half_patched)
