"""What a user, a /proc/cpuinfo and a dump tell of a machine, as the facts that a spec asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pvspec.engine.guards import CpuHas, OpenQuestion
from pvspec.engine.spec import Cpu, Spec
from pvspec.kernel import KernelImage
from pvspec.kernel.dump.dump import Dump
from pvspec.lang.diagnostics import suggestion
from pvspec.prediction.machine import NATIVE, Machine, PredictionError
from pvspec.prediction.worlds import Worlds

_FEW = 12  # names, that a message may list
_NUMBERS = ("threads", "microcode")  # what can be assumed besides features
_UNIPROCESSOR = "UP"
"""The feature of a kernel that left out its lock prefixes; it takes them back for good when a second processor comes
up, so that a running machine tells more of it than its command line does."""
_PATCHED = "uniproc_patched"  # the kernel's own variable for that


class Told:
    """The facts: features that the CPU has `shown`, `features` that were told whatever it shows, and the rest.

    `answers` are what the user assumes of that which a spec leaves open, and what a profile tells of it.
    PredictionError: there is no such feature, or it cannot be so.
    """

    def __init__(self, spec: Spec, image: KernelImage, machine: Machine, dump: Dump | None) -> None:
        self.spec, self.machine = spec, machine
        processor = machine.cpu
        flags = frozenset[str]() if processor is None else processor.flags
        known = spec.machine.shown
        for name in (*machine.features, *machine.lacking, *machine.assumed):
            if isinstance(name, str) and name not in _NUMBERS:
                self._number_of(name)
        self.shown: frozenset[int] = frozenset(known[flag] for flag in flags if flag in known)
        self.features: Mapping[str | int, bool] = {
            **self._uniprocessor(image, dump),
            **dict.fromkeys(machine.features, True),
            **dict.fromkeys(machine.lacking, False),
        }
        self.assumed: Mapping[OpenQuestion, bool] = {
            CpuHas(self._number_of(name)): self._yes_or_no(name, answer)
            for name, answer in machine.assumed.items()
            if name not in _NUMBERS
        }
        self.answers: Mapping[OpenQuestion, bool] = {**self._hidden(), **self.assumed}
        self.cpus = machine.processors
        self.cpu: Cpu | None = None
        if processor is not None:
            threads = self._assumed_number("threads", processor.threads)
            microcode = self._assumed_number("microcode", processor.microcode)
            self.cpu = Cpu(processor.vendor, processor.family, processor.model, processor.stepping, microcode, threads)

    def check(self, worlds: Worlds) -> None:
        """PredictionError if something was assumed that is not open."""
        for question in self.assumed:
            if question in worlds.sources or not isinstance(question, CpuHas):
                continue
            name = next(
                name for name in self.machine.assumed if self.spec.machine.features.get(name) == question.feature
            )
            why = (
                "the CPU shows it"
                if question.feature in self.shown
                else "nothing that this kernel decides leaves it open"
            )
            raise PredictionError(f"{name} cannot be assumed: {why}; --features says what a CPU has or lacks besides")

    def warnings(self) -> Iterator[str]:
        """What may be amiss."""
        processor = self.machine.cpu
        is_guest = processor is not None and processor.count > 0 and processor.is_guest  # a profile is nobody's machine
        if is_guest and self.machine.hypervisor == NATIVE and self.spec.backends:
            names = ", ".join(sorted(set(self.spec.backends) - {NATIVE}))
            yield (
                "the CPU says that a hypervisor runs it, but none is named: the text is that of a kernel on bare "
                f"metal; name the hypervisor with --hypervisor ({names})"
            )

    def _number_of(self, name: str) -> int:
        known = self.spec.machine.features
        if name not in known:
            few = f"there are: {', '.join(sorted(known))}" if len(known) <= _FEW else suggestion(name, known)
            raise PredictionError(
                f"there is no feature {name!r}; {few or f'the spec has {len(known)}, see its machine'}"
            )
        return known[name]

    def _hidden(self) -> dict[OpenQuestion, bool]:
        """What the CPU has of the features that no file shows, where it is known."""
        processor, features = self.machine.cpu, self.spec.machine.features
        if processor is None or processor.hidden is None:
            return {}
        unknown = processor.hidden - set(features)
        if unknown:
            raise PredictionError(f"the CPU's `hidden` line names {min(unknown)}, which is no feature of the spec")
        shown = {*self.spec.machine.shown.values()}
        hidden = {name: number for name, number in features.items() if number >= 0 and number not in shown}
        return {CpuHas(number): name in processor.hidden for name, number in hidden.items()}

    def _uniprocessor(self, image: KernelImage, dump: Dump | None) -> dict[str | int, bool]:
        """Whether the lock prefixes are left out now, where that is known."""
        if _UNIPROCESSOR not in self.spec.machine.features:
            return {}
        kernel = image.kernel or image
        address = None if dump is None else kernel.symbols.address(_PATCHED)
        if dump is not None and address is not None:
            return {_UNIPROCESSOR: dump.read(address, 1) != b"\0"}
        listed = 0 if self.machine.cpus is not None or self.machine.cpu is None else self.machine.cpu.count
        return {_UNIPROCESSOR: False} if listed > 1 else {}

    def _yes_or_no(self, name: str, answer: bool | int) -> bool:
        if not isinstance(answer, bool):
            raise PredictionError(f"{name} is assumed to be {answer!r}: of a feature it is yes or no")
        return answer

    def _assumed_number(self, name: str, shown: int | None) -> int | None:
        """A number of the CPU, by its cpuinfo or else as it is assumed."""
        if name not in self.machine.assumed:
            return shown
        number = self.machine.assumed[name]
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise PredictionError(f"{name} is assumed to be {number!r}: it is a number")
        if shown is not None and number != shown:
            raise PredictionError(f"{name} is assumed to be {number}, but by the /proc/cpuinfo it is {shown}")
        return number
