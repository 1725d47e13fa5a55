"""A kernel run on a machine until it has patched itself, and what it is then: less than a second of CPU each.

The guest is held by QEMU's gdb stub. When it begins to look at its CPU, it gets the features that QEMU cannot give
(`Trial.hidden`); a kernel without a symbol for that gets them later. Each read of IA32_ARCH_CAPABILITIES gets the
machine's value, and what asks for KVM is told of the machine's. When all is known of the CPU and nothing decided yet,
`Trial.late` is done. It is stopped when alternative_instructions returns: then all mitigations are chosen, and
alternatives, returns, retpolines, locks and call thunks are written. Last, the kernel's own functions are called for
what the files in /sys/devices/system/cpu/vulnerabilities would say.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pvspec.engine.spec import Spec

from ..qemu import GuestError, Running, monitor, running
from .numbers import numbers
from .stub import RAX, RCX, RDI, RDX, RIP, RSI, RSP, Gone, Stub
from .subject import Subject
from .trial import Trial

MEMORY = 512  # MiB
_LONGEST = 3600.0  # seconds; on a busy machine none can be too long, so it is CPU that is counted
_CPU_SECONDS = 12.0  # a guest that has taken as much hangs: it is twenty times what one needs
_WINDOW, _IDLE = 15.0, 0.5  # of so many seconds it takes less CPU: it has halted, as early faults make it
_APART = 5.0  # seconds between looks of two waits; while we work it is stopped, and takes none either
_ANSWERS = 500  # between two stops; more are a loop
_KVM_LEAVES = 0x40000000  # where KVM is in CPUID
_TEXT = 512  # bytes of a vulnerabilities file
_DISABLED, _NOT_SUPPORTED = (1, 2), 3  # cpu_smt_control: CPU_SMT_DISABLED, …_FORCE_DISABLED, …_NOT_SUPPORTED
_ALL = 1 << 20  # as many processors as there are


@dataclass(frozen=True)
class Observation:
    """What a kernel was when it had patched itself.

    `before` and `after` are its words of capabilities when it began to decide and at the end. `present`: how many
    processors it found, `online`: how many of them /proc/cpuinfo would list, `threads`: of a core, as the kernel sees
    it. `thunk`: the function that returns jump to, None where the kernel has no variable for it. `shown` are the
    vulnerabilities files, `text` is [_text, _etext). Of a guest that did not get there is only `died`, which says why.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    present: int = 0
    online: int = 0
    threads: int = 1
    thunk: str | None = None
    shown: Mapping[str, str] = field(default_factory=dict)
    text: bytes = b""
    died: str = ""


def observe(subject: Subject, spec: Spec, trial: Trial, vmlinux: Path) -> Observation:
    """Run the kernel, whose ELF file is `vmlinux`, on a machine; `spec` has the numbers of its features."""
    with tempfile.TemporaryDirectory(prefix="pvspec-") as scratch:
        work = Path(scratch)
        gdb = ["-S", "-chardev", f"socket,path={work}/gdb,server=on,wait=off,id=gdb", "-gdb", "chardev:gdb"]
        shape = ["-cpu", trial.cpu, "-smp", trial.smp, "-m", str(MEMORY)]
        kernel = ["-kernel", str(vmlinux), "-append", trial.cmdline]
        with running(work, [*shape, *kernel, *gdb], _LONGEST) as process:
            try:
                guest = _Guest(subject, spec, trial, Stub(f"{work}/gdb", _Watch(process).look))
                return guest.observed(work)
            except (Gone, GuestError) as reason:
                return Observation(died=str(reason).strip().splitlines()[0])


class _Watch:
    """Whether a guest that is waited for still gets anywhere."""

    def __init__(self, process: Running) -> None:
        self._process = process
        self._seconds = self._since = self._last = 0.0

    def look(self) -> None:
        """Raise Gone or GuestError if there is nothing to wait for."""
        self._process.check()
        seconds, now = self._process.cpu_seconds(), time.monotonic()
        apart, over = now - self._last > _APART, now - self._since > _WINDOW
        if seconds > _CPU_SECONDS or (over and not apart and seconds - self._seconds < _IDLE):
            raise Gone("the guest hangs")
        if apart or over:
            self._seconds, self._since = seconds, now
        self._last = now


class _Guest:
    """A kernel at its first instruction."""

    def __init__(self, subject: Subject, spec: Spec, trial: Trial, stub: Stub) -> None:
        self._subject, self._spec, self._trial, self._stub = subject, spec, trial, stub
        self._reads: Mapping[int, bool] = {} if trial.capabilities is None else subject.capability_reads
        self._answers: dict[int, int] = {}
        if trial.guest is not None:
            of_kvm = {"__kvm_cpuid_base": _KVM_LEAVES, "kvm_arch_para_features": trial.guest}
            self._answers = {subject.symbol(function): answer for function, answer in of_kvm.items()}
        for address in (*self._reads, *self._answers):
            stub.stop_at(address)

    def observed(self, work: Path) -> Observation:
        subject, stub, trial = self._subject, self._stub, self._trial
        forced = subject.found("cpu_caps_set")
        if trial.hidden and forced is not None:
            self._run_to(subject.symbol("early_cpu_init"))
            self._change(forced, trial.hidden, ())
        self._run_to(subject.decides)
        words = self._words()
        added, taken = ([name[1:] for name in trial.late if name[0] == sign] for sign in "+-")
        if forced is None:
            added = [*trial.hidden, *added]
        before = self._change(words, added, taken)
        registers = self._run_to(subject.symbol("alternative_instructions"))
        self._run_to(stub.number(registers[RSP], subject.pointer))
        after = self._capabilities(words)
        thunk = subject.found("x86_return_thunk")
        smt = self._variable(subject.smt_control, _NOT_SUPPORTED)
        threads = 1 if smt == _NOT_SUPPORTED else trial.threads
        present = self._present()
        limit = self._variable(subject.found("setup_max_cpus"), _ALL) or 1
        online = min(present, limit) if "apic" in subject.shown(after)[0] else 1
        return Observation(
            before,
            after,
            present,
            -(-online // threads) if smt in _DISABLED else online,
            threads,
            None if thunk is None else self._name(stub.number(thunk, subject.pointer)),
            self._shown(),
            asyncio.run(self._text(work)),
        )

    def _run_to(self, address: int) -> list[int]:
        """Run to an address; the registers there."""
        self._stub.stop_at(address)
        registers = self._stub.run()
        for _ in range(_ANSWERS):
            if registers[RIP] == address:
                break
            registers = self._answered(registers[RIP], address)
        else:
            raise Gone("it asks the same again and again")
        self._stub.pass_by(address)
        return registers

    def _answered(self, place: int, stop: int) -> list[int]:
        """Go on from where the kernel asks for something of the machine's; the registers at the next stop."""
        if place in self._answers:
            return self._returned(self._answers[place])
        if place in self._reads and self._trial.capabilities is not None:
            return self._read(place, self._trial.capabilities, stop)
        raise Gone(f"it stopped at {self._name(place)}")

    def _returned(self, value: int) -> list[int]:
        """Return from the function that has just been called."""
        stub, stack, pointer = self._stub, self._stub.registers()[RSP], self._subject.pointer
        for register, number in ((RAX, value), (RIP, stub.number(stack, pointer)), (RSP, stack + pointer)):
            stub.set_register(register, number)
        return stub.run()

    def _read(self, place: int, value: int, stop: int) -> list[int]:
        """Have the register just read give this value."""
        halves = self._reads[place] or self._subject.image.bits == 32
        self._stub.set_register(RAX, value & 0xFFFFFFFF if halves else value)
        if halves:
            self._stub.set_register(RDX, value >> 32)
        self._stub.pass_by(place)
        self._stub.step()
        self._stub.stop_at(place)
        registers = self._stub.registers()
        return registers if registers[RIP] == stop else self._stub.run()

    # ---- capabilities

    def _words(self) -> int:
        """Where the words of boot_cpu_data are: right before the vendor's name, filled up to whole pointers."""
        start = self._subject.symbol("boot_cpu_data")
        at = self._stub.read(start, 512).find(self._trial.vendor.encode())
        if at < 0:
            raise Gone(f"boot_cpu_data has no {self._trial.vendor!r}")
        each = self._subject.pointer // 4
        return start + at - 4 * each * -(-self._subject.words // each)

    def _capabilities(self, address: int) -> tuple[int, ...]:
        count = self._subject.words
        return struct.unpack(f"<{count}I", self._stub.read(address, 4 * count))

    def _change(self, address: int, added: Iterable[str], taken: Iterable[str]) -> tuple[int, ...]:
        """Set and clear features in the words at an address; what they are then."""
        words = list(self._capabilities(address))
        old = tuple(words)
        for number in numbers(self._subject, self._spec, added):
            words[number // 32] |= 1 << number % 32
        for number in numbers(self._subject, self._spec, taken):
            words[number // 32] &= ~(1 << number % 32)
        if tuple(words) != old:
            self._stub.write(address, struct.pack(f"<{len(words)}I", *words))
        return tuple(words)

    # ---- what else there is to know

    def _variable(self, address: int | None, otherwise: int) -> int:
        """An int of the kernel's; `otherwise` if it has none."""
        return otherwise if address is None else self._stub.number(address, 4)

    def _present(self) -> int:
        address = self._subject.found("__cpu_possible_mask")
        possible = self._trial.processors if address is None else self._stub.number(address, 8).bit_count()
        return min(possible, self._trial.processors)

    def _name(self, address: int) -> str:
        found = self._subject.image.symbols.name_of(address)
        return f"{address:#x}" if found is None else found[0] + (f"+{found[1]:#x}" if found[1] else "")

    def _shown(self) -> dict[str, str]:
        """What the vulnerabilities files would say: their functions, called on the guest's stack."""
        stub, buffer, pointer = self._stub, self._subject.scratch, self._subject.pointer
        here = stub.registers()
        arguments = (RDI, RSI, RDX) if pointer == 8 else (RAX, RDX, RCX)
        stub.stop_at(here[RIP])
        shown = {}
        for name, function in self._subject.shows.items():
            stub.write(buffer, bytes(64))
            stack = (here[RSP] - 0x400 & ~15) - pointer
            stub.write(stack, here[RIP].to_bytes(pointer, "little"))
            for register, value in zip((*arguments, RSP, RIP), (0, 0, buffer, stack, function), strict=True):
                stub.set_register(register, value)
            there = stub.run()
            if there[RIP] != here[RIP]:
                raise Gone(f"cpu_show_{name} stopped at {self._name(there[RIP])}")
            shown[name] = stub.read(buffer, min(there[RAX], _TEXT)).decode(errors="replace").strip()
        return shown

    async def _text(self, work: Path) -> bytes:
        subject = self._subject
        start, end = subject.symbol("_text"), subject.symbol("_etext")
        async with monitor(work) as client:
            saved = {"val": start - subject.offset, "size": end - start, "filename": str(work / "memory")}
            await client.execute("pmemsave", saved)
        return (work / "memory").read_bytes()
