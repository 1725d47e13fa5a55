"""One processor that runs the code it patches: each strategy, poke by poke."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

from pvspec.simulate.guest import RETURN, STACKS, Guest, Site
from pvspec.simulate.machine import BREAKPOINT, PAGE, REGISTERS, Executed, Stop
from pvspec.simulate.strategies import STRATEGIES

_INSNBUF = STACKS[0].start + PAGE - 256  # apply_paravirt()'s buffer: char insnbuf[MAX_PATCH_LEN]
_FRAME = _INSNBUF - 16  # the stack pointer while it calls
_EARLIER = _INSNBUF + 24  # that of calls before it, whose return addresses and registers the buffer then holds
_LIMIT = 2000  # instructions of one poke, which takes some 80
_FLAGS = 0x202


class Step(NamedTuple):
    """One write of a strategy: `stage` is `in place` or `poke`; `trace` what ran for it; `torn` which of that was torn.

    Torn is an instruction that ran while its site was neither the original nor the final code (int3 is never torn):
    `torn` holds their places in the trace.
    """

    stage: str
    site: Site
    address: int
    code: bytes
    trace: tuple[Executed, ...]
    torn: tuple[int, ...]
    fault: Stop | None
    traps: int


class Replay(NamedTuple):
    """What became of one order of the sites: `wrong` are the sites that did not end as they have to."""

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
    """The guest cannot go on."""


def replay(guest: Guest, strategy: str, order: Sequence[Site]) -> Replay:
    """Patch the guest's sites in this order, in a machine of its own."""
    processor = _Processor(guest)
    try:
        STRATEGIES[strategy](guest, order, processor)
    except _Crash:
        pass
    wrong = tuple(site for site in guest.sites if processor.code(site) != guest.patched(site))
    return Replay(strategy, tuple(order), tuple(processor.steps), wrong)


def replays(guest: Guest, strategy: str) -> Iterator[Replay]:
    """A replay of every order of the sites."""
    for order in permutations(guest.sites):
        yield replay(guest, strategy, order)


class _Processor:
    """The hands of a strategy, in a machine: they call the guest's text_poke."""

    def __init__(self, guest: Guest) -> None:
        self.steps: list[Step] = []
        self._guest = guest
        self._machine = guest.machine()
        self._whole = {site: (site.original, guest.patched(site)) for site in guest.sites}
        # The kernel has patched before, its alternatives: that is where a stack gets its garbage from.
        self._poke(RETURN + 8, b"\xcc", _EARLIER)

    def code(self, site: Site) -> bytes:
        """What lies at a site."""
        return self._machine.read(site.addr, site.len)

    def in_place(self, address: int, code: bytes) -> None:
        self._machine.write(address, code)
        self._step("in place", address, code, (), (), None, 0)

    def text_poke(self, address: int, code: bytes) -> None:
        torn_sites = [site for site in self._guest.sites if self.code(site) not in self._whole[site]]
        trace, fault, traps = self._poke(address, code, _FRAME)
        torn = tuple(
            index
            for index, (place, bytes) in enumerate(trace)
            if bytes != b"\xcc" and any(site.addr <= place < site.end for site in torn_sites)
        )
        self._step("poke", address, code, trace, torn, fault, traps)
        if fault:
            raise _Crash

    def sync(self) -> None:
        """There is no other processor."""

    def stack(self, size: int) -> bytes:
        return self._machine.read(_INSNBUF, size)

    def _step(
        self,
        stage: str,
        address: int,
        code: bytes,
        trace: tuple[Executed, ...],
        torn: tuple[int, ...],
        fault: Stop | None,
        traps: int,
    ) -> None:
        site = next(site for site in self._guest.sites if site.addr <= address < site.end)
        self.steps.append(Step(stage, site, address, code, trace, torn, fault, traps))

    def _poke(self, address: int, code: bytes, stack: int) -> tuple[tuple[Executed, ...], Stop | None, int]:
        """Call text_poke; what ran, the exception, and how many breakpoints it met."""
        self._machine.write(_INSNBUF, code)
        self._machine.write(stack, RETURN.to_bytes(4, "little"))
        registers = dict.fromkeys(REGISTERS, 0) | {"esp": stack, "eflags": _FLAGS}
        registers |= {"eax": address, "edx": _INSNBUF, "ecx": len(code), "eip": self._guest.symbols["text_poke"]}
        trace: list[Executed] = []
        for traps in range(_LIMIT):
            stop = self._machine.run(registers, RETURN, _LIMIT)
            trace += self._machine.trace
            if stop.fault != BREAKPOINT or stop.address not in self._guest.detours:
                break
            registers = self._machine.registers() | {"eip": self._guest.detours[stop.address]}
        if not stop.fault and stop.address != RETURN:
            stop = Stop(stop.address, f"no return after {_LIMIT} instructions")
        return tuple(trace), stop if stop.fault else None, traps
