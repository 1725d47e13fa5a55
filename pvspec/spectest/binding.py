"""What a case binds. Each name that it does not bind gets an address of its own; where nops depend on the CPU, and none
is told, the last choice counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pvspec.engine.apply import Kernel
from pvspec.engine.facts import Facts
from pvspec.engine.guards import CpuNumber, CpuVendor, Guard, questions
from pvspec.engine.spec import Cpu, Spec
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import VENDORS
from pvspec.spectest.subject import Subject

_SOMEWHERE = {32: 0xCF000000, 64: 0xFFFFFFFF8F000000}
_PLAIN = {"family": 0, "model": 0, "stepping": 0, "microcode": 0, "threads": 1}  # where only the vendor is told
_STEP = 0x1000
_TARGETS, _FUNCTIONS, _PROTECTED = 0x800000, 0xFFE000, 0xFFF000  # after the symbols


@dataclass
class Binding:
    """Values for a spec's names, in the form that `Facts` takes, but with targets by op name."""

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
    numbers: dict[str, int] = field(default_factory=lambda: dict(_PLAIN))
    backend: str | None = None

    def kernel(self, subject: Subject, spec: Spec, memory: Mapping[int, bytes]) -> Kernel:
        """A kernel with these values; PatchError if they are impossible. `memory`: contents by address."""
        backend = subject.backend
        targets = {number: self.targets[name] for name, number in subject.numbers(self.options).items()}
        facts = Facts(
            spec,
            subject.name if backend else self.backend,
            targets=targets,
            tables={name: self._table(name, targets, subject, memory) for name in self._other_tables(subject.spec)},
            symbols=self.symbols,
            options=self.options,
            nops=self.nops,
            rom={rom: _Answers(rom, self.answers) for rom in (backend.roms if backend else ())},
            features=self.features,
            cpu=None if self.vendor is None else Cpu(self.vendor, **self.numbers),
            cpus=self.cpus,
            cmdline=self.cmdline,
            vulnerabilities=self.vulnerabilities,
            protect=self.protect,
        )
        return Kernel(facts)

    def _other_tables(self, spec: model.Spec) -> set[str]:
        """The symbols of the tables of functions from which a backend takes targets."""
        targets = [target for backend in spec.backends.values() for target in backend.targets]
        return {target.symbol for target in targets if target.table and target.symbol in self.symbols}

    def _table(
        self, symbol: str, targets: Mapping[int, int], subject: Subject, memory: Mapping[int, bytes]
    ) -> dict[int, int]:
        """Functions by op number in another table: what the case puts there, else those in the kernel's own."""
        size, start, table = subject.spec.machine.bits // 8, self.symbols[symbol], dict(targets)
        for address, data in memory.items():
            for number in table:
                at = start + size * number - address
                if 0 <= at <= len(data) - size:
                    table[number] = int.from_bytes(data[at : at + size], "little")
        return table


@dataclass(frozen=True)
class _Answers:
    """A ROM with the answers of the case."""

    rom: str
    answers: Mapping[tuple[str, int], int]

    def __call__(self, argument: int) -> int:
        if (self.rom, argument) not in self.answers:
            raise LookupError(f"the case lacks the answer to `{self.rom}({argument})`")
        return self.answers[self.rom, argument]


def bind_case(subject: Subject) -> Binding:
    """What the case binds."""
    bound = _defaults(subject)
    for setting in subject.case.settings:
        _set(setting, bound, subject)
    if bound.vendor is None and bound.nops is None:
        bound.nops = _plain_nops(subject.spec.machine.choices)
    return bound


def _plain_nops(choices: Sequence[tuple[str, Guard | None]]) -> str | None:
    """What a kernel takes of whose CPU nothing is known: the last choice; None if none asks for vendor or numbers."""
    asked = [question for _, guard in choices for question in questions(guard)]
    return choices[-1][0] if any(isinstance(question, CpuVendor | CpuNumber) for question in asked) else None


def _defaults(subject: Subject) -> Binding:
    bound, base = Binding(), _SOMEWHERE[subject.spec.machine.bits]
    # a named chain may refer to symbols that another family declares
    for names in (*subject.names, *(family.names for family in subject.spec.families.values())):
        for name in names.symbols:
            bound.symbols.setdefault(name, base + _STEP * len(bound.symbols))
    for names in subject.names:
        bound.options.update(names.options)
        bound.protect.update(dict.fromkeys(names.protects, (base + _PROTECTED, base + _PROTECTED + 1)))
    for name in subject.interface.ops if subject.interface else ():
        bound.targets[name] = base + _TARGETS + _STEP * len(bound.targets)
    functions = subject.spec.interface.functions if subject.spec.interface else None
    if functions is not None:
        bound.symbols.setdefault(functions, base + _FUNCTIONS)
    return bound


def _set(setting: ast.Setting, bound: Binding, subject: Subject) -> None:
    name = setting.name.text if setting.name else ""
    match setting.kind, setting.values:
        case (("number" | "symbol"), (ast.Number(value=value),)):
            is_target = setting.kind == "number" and name in bound.targets
            (bound.targets if is_target else bound.symbols)[name] = value
        case "truth", (ast.Truth(value=truth),):
            bound.options[name] = truth
        case "nops", _:
            bound.nops = name
        case "cpu", _:
            bound.features.append(name)
        case "vendor", _:
            bound.vendor = VENDORS[name]
        case what, (ast.Number(value=value),) if what in _PLAIN:
            bound.numbers[what] = value
        case "cpus", (ast.Number(value=value),):
            bound.cpus = value
        case "cmdline", (ast.Text(value=cmdline),):
            bound.cmdline = cmdline
        case "vulnerability", (ast.Text(value=text),):
            bound.vulnerabilities[name] = text
        case "backend", _:
            bound.backend = name
        case "extent", (ast.Number(value=low), ast.Number(value=high)):
            bound.protect[name] = (low, high)
        case "answer", (ast.Number(value=argument), ast.Name() | ast.Number() as kind, *rest):
            assert subject.backend is not None
            bound.answers[name, argument] = _answer(subject.backend.roms[name], kind, rest)


def _answer(rom: model.Rom, kind: ast.Name | ast.Number, rest: list[Any]) -> int:
    """The ROM's answer as an integer: its type, and the address in all its other fields."""
    numbers = {answer.name: number for number, answer in rom.answers.items()}
    type_, word = kind.value if isinstance(kind, ast.Number) else numbers[kind.text], 0
    for item in rom.layout.fields:
        value = type_ if item.name == "type" else rest[0].value if rest else 0
        word |= (value & (1 << item.bits) - 1) << item.at
    return word
