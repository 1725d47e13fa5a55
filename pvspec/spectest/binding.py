"""What a case binds. A name that it does not bind stands for some address of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pvspec.engine.spec import Guard
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import VENDORS
from pvspec.spectest.subject import Lacking, Subject

_SOMEWHERE = {32: 0xCF000000, 64: 0xFFFFFFFF8F000000}
_STEP = 0x1000
_TARGETS, _FUNCTIONS, _PROTECTED = 0x800000, 0xFFE000, 0xFFF000  # behind the symbols


@dataclass
class Binding:
    """Values for a spec's names, as `bind` of the generated module takes them, but targets by op name."""

    symbols: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    options: dict[str, bool] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    protect: dict[str, tuple[int, int]] = field(default_factory=dict)
    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    nops: str | None = None
    cpus: int | None = None
    cmdline: str = ""
    vulnerabilities: dict[str, str] = field(default_factory=dict)
    vendor: str | None = None
    numbers: dict[str, int] = field(default_factory=lambda: {"family": 0, "model": 0, "stepping": 0})
    backend: str | None = None

    def kernel(self, subject: Subject, module: ModuleType, memory: Mapping[int, bytes]) -> Any:
        """The generated module's kernel with these values; `memory`: what lies at which addresses."""
        backend = subject.backend
        targets = {number: self.targets[name] for name, number in subject.numbers(self.options).items()}
        return module.bind(
            subject.name if backend else self.backend,
            targets=targets,
            tables={name: self._table(name, targets, subject, memory) for name in self._other_tables(subject.spec)},
            symbols=self.symbols,
            options=self.options,
            nops=self.nops,
            rom={rom: _Answers(rom, self.answers) for rom in (backend.roms if backend else ())},
            features=self.features,
            cpu=None if self.vendor is None else module.Cpu(self.vendor, **self.numbers),
            cpus=self.cpus,
            cmdline=self.cmdline,
            vulnerabilities=self.vulnerabilities,
            protect=self.protect,
        )

    def _other_tables(self, spec: model.Spec) -> set[str]:
        """The symbols of the tables of functions that a backend takes words from."""
        targets = [target for backend in spec.backends.values() for target in backend.targets]
        return {target.symbol for target in targets if target.table and target.symbol in self.symbols}

    def _table(
        self, symbol: str, targets: Mapping[int, int], subject: Subject, memory: Mapping[int, bytes]
    ) -> dict[int, int]:
        """Op number to function in another table of functions: what the case has there, else as in the kernel's own."""
        size, start, table = subject.spec.machine.bits // 8, self.symbols[symbol], dict(targets)
        for address, data in memory.items():
            for number in table:
                at = start + size * number - address
                if 0 <= at <= len(data) - size:
                    table[number] = int.from_bytes(data[at : at + size], "little")
        return table


@dataclass(frozen=True)
class _Answers:
    """A ROM that knows some answers."""

    rom: str
    answers: Mapping[tuple[str, int], int]

    def __call__(self, argument: int) -> int:
        if (self.rom, argument) not in self.answers:
            raise LookupError(f"the case does not say what `{self.rom}({argument})` answers")
        return self.answers[self.rom, argument]


def bind_case(subject: Subject) -> Binding:
    """What the case binds; raises Lacking if it names something unknown."""
    bound = _defaults(subject)
    for setting in subject.case.settings:
        _set(setting, bound, subject)
    return bound


def _defaults(subject: Subject) -> Binding:
    bound, base = Binding(), _SOMEWHERE[subject.spec.machine.bits]
    parties = _parties(subject)
    # a chain with a name may call for symbols that another family declares
    for names in (*parties, *(family.names for family in subject.spec.families.values())):
        for name in names.symbols:
            bound.symbols.setdefault(name, base + _STEP * len(bound.symbols))
    for names in parties:
        bound.options.update(names.options)
        bound.protect.update(dict.fromkeys(names.protects, (base + _PROTECTED, base + _PROTECTED + 1)))
    for name in subject.interface.ops if subject.interface else ():
        bound.targets[name] = base + _TARGETS + _STEP * len(bound.targets)
    functions = subject.spec.interface.functions if subject.spec.interface else None
    if functions is not None:
        bound.symbols.setdefault(functions, base + _FUNCTIONS)
    return bound


def _parties(subject: Subject) -> list[model.Names]:
    named = (setting.name.text for setting in subject.case.settings if setting.kind == "backend" and setting.name)
    others = (subject.spec.backends.get(name) for name in named)
    parties = (subject.interface, subject.backend, *others, subject.family)
    return [party.names for party in parties if party is not None]


def _set(setting: ast.Setting, bound: Binding, subject: Subject) -> None:
    name = setting.name.text if setting.name else ""
    machine = subject.spec.machine
    match setting.kind, setting.values:
        case "number", (ast.Number(value=value),) if name in bound.targets:
            bound.targets[name] = value
        case (("number" | "symbol"), (ast.Number(value=value),)) if name in {*bound.symbols, *subject.spec.probes}:
            bound.symbols[name] = value
        case "truth", (ast.Truth(value=truth),) if name in bound.options:
            bound.options[name] = truth
        case "nops", _ if name in machine.nops:
            bound.nops = name
        case "cpu", _ if name in machine.features:
            bound.features.append(name)
        case "vendor", _ if name in VENDORS:
            bound.vendor = VENDORS[name]
        case ("family" | "model" | "stepping") as what, (ast.Number(value=value),):
            bound.numbers[what] = value
        case "cpus", (ast.Number(value=value),):
            bound.cpus = value
        case "cmdline", (ast.Text(value=cmdline),):
            bound.cmdline = cmdline
        case "vulnerability", (ast.Text(value=text),) if name in _vulnerabilities(subject.spec):
            bound.vulnerabilities[name] = text
        case "backend", _ if name in subject.spec.backends:
            bound.backend = name
        case "extent", (ast.Number(value=low), ast.Number(value=high)) if name in bound.protect:
            bound.protect[name] = (low, high)
        case "answer", (ast.Number(value=argument), ast.Name() | ast.Number() as kind, *rest):
            bound.answers[name, argument] = _answer(setting, kind, rest, subject)
        case _:
            raise _unknown(setting, bound, subject)


def _unknown(setting: ast.Setting, bound: Binding, subject: Subject) -> Lacking:
    machine = subject.spec.machine
    known: Mapping[str, Sequence[str]] = {
        "number": [*bound.targets, *bound.symbols, *subject.spec.probes],
        "symbol": [*bound.symbols, *subject.spec.probes],
        "truth": [*bound.options],
        "nops": [*machine.nops],
        "cpu": [*machine.features],
        "vendor": [*VENDORS],
        "vulnerability": _vulnerabilities(subject.spec),
        "backend": [*subject.spec.backends],
        "extent": [*bound.protect],
    }
    what = {
        "number": "op or symbol",
        "truth": "option",
        "nops": "nop table",
        "cpu": "feature",
        "extent": "protected function",
    }
    assert setting.name is not None
    return subject.unknown(what.get(setting.kind, setting.kind), setting.name, known[setting.kind])


def _vulnerabilities(spec: model.Spec) -> list[str]:
    """The vulnerabilities files that the spec's policy asks for."""

    def asked(guard: Guard | None) -> Iterator[str]:
        match guard:
            case ("vulnerability", str(name), *_):
                yield name
            case (("any" | "all" | "not"), *parts):
                for part in parts:
                    yield from asked(part)

    return sorted({name for decision in spec.policy for name in asked(decision.guard)})


def _answer(setting: ast.Setting, kind: ast.Name | ast.Number, rest: list[Any], subject: Subject) -> int:
    """The ROM's answer as an integer: its type, and the address in all its other fields."""
    assert setting.name is not None
    roms = subject.backend.roms if subject.backend else {}
    if setting.name.text not in roms:
        raise subject.unknown("rom", setting.name, roms)
    rom, word = roms[setting.name.text], 0
    type_ = _answer_type(kind, rom, subject)
    for item in rom.layout.fields:
        value = type_ if item.name == "type" else rest[0].value if rest else 0
        word |= (value & (1 << item.bits) - 1) << item.at
    return word


def _answer_type(kind: ast.Name | ast.Number, rom: model.Rom, subject: Subject) -> int:
    if isinstance(kind, ast.Number):
        return kind.value
    numbers = {answer.name: number for number, answer in rom.answers.items()}
    if kind.text not in numbers:
        raise subject.unknown("answer", kind, numbers)
    return numbers[kind.text]
