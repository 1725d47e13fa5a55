"""A kernel that machines are tried on, the spec that predicts it, and what of both is worked out once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import pvspec
from pvspec.engine.errors import PatchError, StateError
from pvspec.engine.guards import CpuHasField, FactQuestion, Guard, questions
from pvspec.engine.records import parse_records
from pvspec.engine.spec import Spec
from pvspec.prediction import PredictionError
from pvspec.prediction.bind import Bound, Tables, layouts
from pvspec.prediction.passes import run_passes, text_of

from .observe import Observation, observe
from .subject import Subject, numbers_in, open_subject
from .trial import Trial

LATER = (
    *("ftrace", "jump_labels", "static_calls", "trampolines", "static_call_pads", "xen_iret"),
    *("runtime_user_ptr_max", "runtime_dentry_hashtable", "runtime_d_hash_shift"),
)
"""Tables whose sites the kernel has not come to when it is stopped, or goes on to change: they are not compared."""
_EVEN_LATER = ("possible_call_pads",)  # none of its sites is anything yet
_FIRST = ("retpolines", "returns")
"""The longest tables, which come first and follow from few features: what they leave is kept."""
_KEPT = 12  # texts of all that comes first
_KEPT_DIGESTS = 4096


@dataclass(eq=False)
class Bench:
    """A kernel and its spec. `vmlinux` is its ELF file, in a `folder` that goes with it."""

    subject: Subject
    whole: Spec
    vmlinux: Path
    folder: TemporaryDirectory[str]
    _begun: dict[object, bytes] = field(default_factory=dict)
    _digests: dict[object, str] = field(default_factory=dict)

    @cached_property
    def spec(self) -> Spec:
        """The spec without the tables that come later."""
        return _only(self.whole, [name for name in self.whole.passes if name not in (*LATER, *_EVEN_LATER)])

    def bind(self, machine: pvspec.Machine) -> Bound:
        """The kernel on a machine, without the tables that come later; PredictionError."""
        return pvspec.bind_kernel(self.subject.image, machine, spec=self.spec)

    def observe(self, trial: Trial) -> Observation:
        """Run the kernel on a machine."""
        return observe(self.subject, self.whole, trial, self.vmlinux)

    # ---- features

    @cached_property
    def telling(self) -> frozenset[int]:
        """The features that records of sites in the text name: the kernel keeps them in its words of capabilities."""
        return frozenset(self._telling())

    def _telling(self) -> Iterator[int]:
        bound = self.bind(_PLAIN)
        tables, (start, end) = bound.tables, text_of(bound)
        for name, family in self.spec.families.items():
            asked = [part for arm in family.rule for part in questions(arm.guard)]
            fields = {part.field for part in asked if isinstance(part, CpuHasField)}
            if fields and name in tables:
                records = parse_records(layouts(self.spec)[name], *tables[name])
                inside = (record for record in records if start <= record["site"] < end)
                yield from (record[field] for record in inside for field in fields)

    def decided(self, words: tuple[int, ...]) -> frozenset[int]:
        """The features of a kernel's words that can change text."""
        return self.telling.intersection(numbers_in(words))

    def differing(self, had: Iterable[int], predicted: Iterable[int]) -> tuple[str, ...]:
        """By name, what the kernel had though it is not predicted ("+NAME"), and the contrary ("-NAME")."""
        name = {number: name for name, number in self.whole.machine.features.items()}
        one, other = frozenset(had), frozenset(predicted)
        both = [*(("+", number) for number in one - other), *(("-", number) for number in other - one)]
        return tuple(sorted(sign + name.get(number, str(number)) for sign, number in both))

    # ---- texts

    @cached_property
    def _compared(self) -> int:
        """The bytes of the text that are compared: ff for each, the first lowest."""
        later = run_passes(
            pvspec.bind_kernel(self.subject.image, _PLAIN, spec=_only(self.whole, LATER)), every_site=True
        )
        mask = bytearray(b"\xff" * (later.end - later.start))
        for site in later.inside():
            start = site.address - later.start
            mask[start : start + site.length] = bytes(site.length)
        return int.from_bytes(mask, "little")

    def masked(self, text: bytes | memoryview) -> bytes:
        """A text with zeros in the sites that are not compared."""
        return (int.from_bytes(text, "little") & self._compared).to_bytes(len(text), "little")

    def digest(self, text: bytes | memoryview) -> str:
        """A digest of what is compared of a text."""
        return hashlib.sha256(self.masked(text)).hexdigest()[:32]

    def predicted(self, bound: Bound) -> str:
        """The digest of the predicted text, empty if not all of it can be; PredictionError.

        What follows from the same answers is worked out once.
        """
        kernel = bound.kernel
        key = kernel.features & self.telling, _answers(bound, self._asked(self.spec.families), self._asked_of_ops)
        if key not in self._digests:
            if len(self._digests) >= _KEPT_DIGESTS:
                self._digests.clear()
            self._digests[key] = self._digest(bound)
        return self._digests[key]

    def _digest(self, bound: Bound) -> str:
        try:
            return self.digest(self._text(bound))
        except StateError:
            return ""

    def _text(self, bound: Bound) -> memoryview:
        image = bound.image
        first = {name: table for name, table in bound.tables.items() if name in _FIRST}
        rest = {name: table for name, table in bound.tables.items() if name not in _FIRST}
        key = _answers(bound, self._asked(first))
        if key not in self._begun:
            if len(self._begun) >= _KEPT:
                self._begun.pop(next(iter(self._begun)))
            self._begun[key] = _applied(bound, first, image.memory)
        memory = _applied(bound, rest, self._begun[key])
        start, end = text_of(bound)
        return memoryview(memory)[start - image.base : end - image.base]

    def _asked(self, families: Iterable[str]) -> tuple[FactQuestion, ...]:
        """What the rules of these families ask of the facts."""
        return _of_facts(arm.guard for name in families for arm in self.spec.families[name].rule)

    @cached_property
    def _asked_of_ops(self) -> tuple[FactQuestion, ...]:
        """What rules and targets of a hypervisor ask of the facts."""
        guards: list[Guard | None] = []
        for backend in self.spec.backends.values():
            guards += [target.guard for target in backend.targets]
            guards += [arm.guard for chain in (*backend.rules.values(), backend.otherwise) for arm in chain]
        return _of_facts(guards)


def open_bench(package: Path) -> Bench:
    """The kernel of a package, and the shipped spec of its version."""
    subject = open_subject(package)
    folder = TemporaryDirectory(prefix="pvspec-")
    vmlinux = Path(folder.name) / "vmlinux"
    subject.image.write(vmlinux, subject.image.memory)
    return Bench(subject, pvspec.bind_kernel(subject.image, _PLAIN).spec, vmlinux, folder)


_PLAIN = pvspec.Machine(cpu=pvspec.read_cpu("qemu64"))


def _only(spec: Spec, passes: Iterable[str]) -> Spec:
    """The spec, with tables for these passes alone. All families stay, since one may name another one's symbols."""
    left_out = spec.families.keys() - frozenset(passes)
    families = {
        name: family.changed(layout=family.layout.changed(**_NOWHERE)) if name in left_out else family
        for name, family in spec.families.items()
    }
    return spec.changed(families=families)


_NOWHERE: Mapping[str, object] = {"section": "(left out)", "bounds": None, "patterns": {}}


def _of_facts(guards: Iterable[Guard | None]) -> tuple[FactQuestion, ...]:
    found = dict.fromkeys(part for guard in guards for part in questions(guard))
    return tuple(part for part in found if isinstance(part, FactQuestion))


def _answers(bound: Bound, *asked: Iterable[FactQuestion]) -> object:
    """What the bytes follow from, besides the features that records name."""
    answers = [bound.kernel.answer(question) for questions in asked for question in questions]
    return bound.kernel.nops_name, tuple(answer if isinstance(answer, bool) else None for answer in answers)


def _applied(bound: Bound, tables: Tables, before: bytes | bytearray) -> bytes:
    """Memory after the passes of some tables; StateError where it follows what the kernel does as it runs."""
    image, memory = bound.image, bytearray(before)
    try:
        bound.kernel.apply_passes(tables, memory, image.base, executable=image.executable, state=bound.state)
    except StateError:
        raise
    except PatchError as error:
        raise PredictionError(f"{image.name}: {error}") from None
    return bytes(memory)
