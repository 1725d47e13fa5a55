"""Runs the `test` blocks of a spec against the module that it compiles to.

A name that a case does not bind stands for some address of its own: a target
for some function, a symbol for some place. What is expected is put together
here, without the runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from pvspec import model
from pvspec import syntax as ast
from pvspec.assemble import AsmErrors, assemble
from pvspec.decode import disassemble
from pvspec.diagnostics import Diagnostic, Findings, suggestion
from pvspec.machinecode import Code
from pvspec.source import Span

MAX_TEXT = 64 << 20  # bytes between the lowest and the highest address of a case
FILLER = 0xCC  # the original instructions, where a case does not say
_SOMEWHERE = {32: 0xCF000000, 64: 0xFFFFFFFF8F000000}


@dataclass(frozen=True)
class Result:
    """One case: the test's name, where it stands, and what was wrong with it, if anything."""

    test: str
    span: Span
    diagnostics: tuple[Diagnostic, ...]

    @property
    def passed(self) -> bool:
        """Whether the outcome was the expected one."""
        return not self.diagnostics


def run_tests(spec: model.Spec, module: ModuleType) -> Iterator[Result]:
    """Run every case of every test block; `module` is the spec's generated module."""
    for test in spec.tests:
        if test.name.text not in spec.backends and test.name.text not in spec.families:
            yield Result(test.name.text, test.name.span, (_unknown(test, spec),))
            continue
        for case in test.cases:
            findings = Findings()
            _Case(test.name.text, case, spec, module, findings).run()
            yield Result(test.name.text, case.span, tuple(findings.found))


def _unknown(test: ast.Test, spec: model.Spec) -> Diagnostic:
    findings = Findings()
    known = [*spec.backends, *spec.families]
    findings.add(
        "PV101",
        f"unknown backend or family `{test.name.text}`",
        (test.name.span, ""),
        help=suggestion(test.name.text, known),
    )
    return findings.found[0]


class _Lacking(Exception):
    """The case cannot be run; a finding says why."""


@dataclass
class _Bound:
    """What a case binds."""

    symbols: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)
    options: dict[str, bool] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    protect: dict[str, tuple[int, int]] = field(default_factory=dict)
    answers: dict[tuple[str, int], int] = field(default_factory=dict)
    nops: str | None = None
    cpus: int | None = None


class _Case:
    def __init__(self, name: str, case: ast.Case, spec: model.Spec, module: ModuleType, findings: Findings) -> None:
        self.name = name
        self.case = case
        self.spec = spec
        self.module = module
        self.findings = findings
        self.backend = spec.backends.get(name)
        self.family = spec.families.get(name)
        self.bound = _Bound()

    def run(self) -> None:
        """Run the case; findings say what is wrong."""
        try:
            self._bind()
            record, memory = self._site()
            expected = self._expected()
        except _Lacking:
            return
        try:
            got: bytes | str = self._patched(record, memory)
        except self.module.PatchError as error:
            got = str(error)
        self._compare(expected, got)

    # ---- what is bound

    def _lack(self, message: str, span: Span, text: str = "") -> _Lacking:
        self.findings.add("PV502", message, (span, text))
        return _Lacking()

    def _parties(self) -> list[model.Names]:
        interface = [self.spec.interface.names] if self.spec.interface and self.backend else []
        party = self.backend or self.family
        return [*interface, party.names] if party else interface

    def _bind(self) -> None:
        bound, base = self.bound, _SOMEWHERE[self.spec.machine.bits]
        for party in self._parties():
            bound.options.update(party.options)
            for name in party.symbols:
                bound.symbols[name] = base + 0x1000 * len(bound.symbols)
            bound.protect.update(dict.fromkeys(party.protects, (base + 0xFFF000, base + 0xFFF001)))
        for name in self.spec.interface.ops if self.spec.interface and self.backend else ():
            bound.targets[name] = base + 0x100000 + 0x1000 * len(bound.targets)
        for setting in self.case.settings:
            self._set(setting)

    def _set(self, setting: ast.Setting) -> None:
        bound, values = self.bound, setting.values
        name = setting.name.text if setting.name else ""
        match setting.kind, values:
            case "number", (ast.Number(value=value),) if name in bound.targets:
                bound.targets[name] = value
            case "number", (ast.Number(value=value),) if name in bound.symbols:
                bound.symbols[name] = value
            case "truth", (ast.Truth(value=truth),) if name in bound.options:
                bound.options[name] = truth
            case "nops", _ if name in self.spec.machine.nops:
                bound.nops = name
            case "cpu", _ if name in self.spec.machine.features:
                bound.features.append(name)
            case "cpus", (ast.Number(value=value),):
                bound.cpus = value
            case "extent", (ast.Number(value=low), ast.Number(value=high)) if name in bound.protect:
                bound.protect[name] = (low, high)
            case "answer", (ast.Number(value=argument), ast.Name() as kind, *rest):
                bound.answers[name, argument] = self._answer(setting, kind, rest)
            case _:
                known = [*bound.targets, *bound.symbols, *bound.options, *bound.protect, *self.spec.machine.nops]
                help = suggestion(name, known)
                self.findings.add("PV101", f"nothing called `{name}` to set", (setting.span, ""), help=help)
                raise _Lacking

    def _answer(self, setting: ast.Setting, kind: ast.Name, rest: list[Any]) -> int:
        rom = self.backend.roms.get(setting.name.text) if self.backend and setting.name else None
        numbers = {answer.name: number for number, answer in rom.answers.items()} if rom else {}
        if rom is None:
            raise self._lack("no such rom", setting.span)
        try:
            number = numbers[kind.text] if kind.text in numbers else int(kind.text.removeprefix("_"))
        except ValueError:
            raise self._lack(f"rom `{rom.name}` has no answer `{kind.text}`", kind.span, ", ".join(numbers)) from None
        word = 0
        for item in rom.layout.fields:
            value = number if item.name == "type" else rest[0].value if rest else 0
            word |= (value & (1 << item.bits) - 1) << item.at
        return word

    def _kernel(self) -> Any:
        interface, bound = self.spec.interface, self.bound
        configuration = (
            tuple(bound.options[name] for name in interface.names.options) if interface and self.backend else ()
        )
        ops = interface.ops if interface and self.backend else {}
        targets = {
            op.numbers[configuration]: bound.targets[op.name] for op in ops.values() if configuration in op.numbers
        }
        return self.module.bind(
            self.name if self.backend else None,
            targets=targets,
            symbols=bound.symbols,
            options=bound.options,
            nops=bound.nops,
            rom={rom: _Answers(rom, bound.answers) for rom in (self.backend.roms if self.backend else ())},
            features=bound.features,
            cpus=bound.cpus,
            protect=bound.protect,
        )

    # ---- the site

    def _length(self) -> int:
        if self.family is not None and self.family.length is not None:
            return self.family.length
        for number in self.case.lengths:
            return number.value
        for original in self.case.originals:
            return len(self._hex(original))
        raise self._lack("the case does not say how long the site is", self.case.address.span, "add `len N`")

    def _hex(self, text: ast.Text) -> bytes:
        try:
            return bytes.fromhex(text.value)
        except ValueError:
            raise self._lack("no hexadecimal bytes", text.span) from None

    def _original(self) -> bytes:
        length = self._length()
        for original in self.case.originals:
            data = self._hex(original)
            if len(data) != length:
                raise self._lack(f"{len(data)} original bytes for a site of {length}", original.span)
            return data
        return bytes([FILLER]) * length

    def _site(self) -> tuple[dict[str, int], dict[int, bytes]]:
        """The record's fields, and what lies where."""
        memory = {self.case.address.value: self._original()}
        record = self._op_record() if self.backend else self._family_record(memory)
        return record, memory

    def _op_record(self) -> dict[str, int]:
        interface, op = self.spec.interface, self.case.op
        if interface is None or op is None:
            raise self._lack("the case names no op", self.case.span)
        if op.text not in interface.ops:
            self.findings.add(
                "PV101", f"unknown op `{op.text}`", (op.span, ""), help=suggestion(op.text, interface.ops)
            )
            raise _Lacking
        configuration = tuple(self.bound.options[name] for name in interface.names.options)
        number = interface.ops[op.text].numbers.get(configuration)
        if number is None:
            raise self._lack(f"`{op.text}` does not exist with these options", op.span)
        return {
            "addr": self.case.address.value,
            "type": number,
            "len": self._length(),
            "clobber": self._mask(interface),
        }

    def _mask(self, interface: model.Interface) -> int:
        if not self.case.clobbers:
            return sum(interface.clobbers.values())
        mask = 0
        for name in self.case.clobbers[0]:
            known = {"any": sum(interface.clobbers.values()), "none": 0, **interface.clobbers}
            if name.text not in known:
                raise self._lack(f"unknown clobber register `{name.text}`", name.span)
            mask |= known[name.text]
        return mask

    def _family_record(self, memory: dict[int, bytes]) -> dict[str, int]:
        assert self.family is not None
        record = {item.name: 0 for item in self.family.layout.fields}
        record["site"] = self.case.address.value
        if self.family.length is None:
            record["len"] = self._length()
        for value in self.case.fields:
            if value.name.text not in record:
                raise self._lack(f"the record has no field `{value.name.text}`", value.name.span, ", ".join(record))
            record[value.name.text] = self._field(value, memory)
        return record

    def _field(self, value: ast.FieldValue, memory: dict[int, bytes]) -> int:
        match value.value:
            case ast.Number():
                return value.value.value
            case ast.Name():
                if value.value.text not in self.spec.machine.features:
                    raise self._lack(f"unknown feature `{value.value.text}`", value.value.span)
                return self.spec.machine.features[value.value.text]
        assert value.address is not None
        memory[value.address.value] = self._hex(value.value)
        return value.address.value

    # ---- what comes out

    def _patched(self, record: Mapping[str, int], memory: Mapping[int, bytes]) -> bytes:
        base = min(memory)
        end = max(address + len(data) for address, data in memory.items())
        if end - base > MAX_TEXT:
            raise self.module.PatchError(f"the case's addresses lie more than {MAX_TEXT} bytes apart")
        text = bytearray(end - base)
        for address, data in memory.items():
            text[address - base : address - base + len(data)] = data
        layout = self._layout()
        table = self.module.build_records(layout, [record], base)
        kernel = self._kernel()
        if self.backend:
            kernel.apply(table, text, base, table_address=base)
        else:
            kernel.apply_family(self.name, table, text, base, table_address=base)
        start = self.case.address.value - base
        return bytes(text[start : start + self._length()])

    def _layout(self) -> Any:
        return self.module.INTERFACE.layout if self.backend else self.module.SPEC.families[self.name].layout

    def _expected(self) -> bytes | ast.Want:
        """The site's bytes, or the `bug` that is expected."""
        wants, length, code = self.case.wants, self._length(), b""
        kinds = [want.kind for want in wants]
        if "bug" in kinds or "keep" in kinds:
            if len(wants) > 1:
                raise self._lack("`keep` and `bug` stand alone", wants[0].span.to(wants[-1].span))
            return wants[0] if kinds == ["bug"] else self._original()
        for want in wants:
            code += self._wanted(want, len(code), length)
        return code

    def _wanted(self, want: ast.Want, done: int, length: int) -> bytes:
        match want.kind, want.value:
            case "bytes", ast.Text() as text:
                return self._hex(text)
            case "asm", ast.Text() as text:
                return self._filled(self._assembled(text), done)
            case ("call" | "jmp") as mnemonic, ast.Number(value=target):
                distance = target - (self.case.address.value + done + 5) & 0xFFFFFFFF
                return (b"\xe8" if mnemonic == "call" else b"\xe9") + distance.to_bytes(4, "little")
        return self._nops(length - done)

    def _nops(self, count: int) -> bytes:
        table, code = self._kernel().nops, b""
        while len(code) < count:
            code += table[min(count - len(code), len(table)) - 1]
        return code

    def _assembled(self, text: ast.Text) -> Code:
        try:
            return assemble(text.value, self.spec.machine.bits, self.bound.symbols.keys())
        except AsmErrors as errors:
            for error in errors.errors:
                place = text.span.part(error.start, error.end)
                self.findings.add("PV401", error.message, (place, ""), help=error.help)
        raise _Lacking

    def _filled(self, code: Code, done: int) -> bytes:
        data = bytearray(code.data)
        for hole in code.holes:
            value = self.bound.symbols[hole.symbol] + hole.addend
            value -= self.case.address.value + done + hole.end if hole.relative else 0
            cell = value & (1 << 8 * hole.size) - 1
            data[hole.offset : hole.offset + hole.size] = cell.to_bytes(hole.size, "little")
        return bytes(data)

    def _compare(self, expected: bytes | ast.Want, got: bytes | str) -> None:
        if isinstance(expected, ast.Want):
            wanted = expected.value.value if isinstance(expected.value, ast.Text) else ""
            if isinstance(got, bytes) or wanted not in got:
                outcome = self._shown(got) if isinstance(got, bytes) else [got]
                self._differs([f"expected the error `{wanted}`", *outcome])
        elif isinstance(got, str):
            self._differs([*self._shown(expected, "expected"), f"got an error: {got}"])
        elif got != expected:
            self._differs([*self._shown(expected, "expected"), *self._shown(got)])

    def _differs(self, notes: list[str]) -> None:
        wants = self.case.wants
        place = wants[0].span.to(wants[-1].span)
        self.findings.add("PV501", f"test {self.name}: another outcome", (place, "expected this"), notes=notes)

    def _shown(self, code: bytes, what: str = "got") -> list[str]:
        lines = disassemble(code, self.spec.machine.bits, self.case.address.value)
        text = "; ".join(instruction.text for instruction in lines)
        return [f"{what:<8} {code.hex(' ')}", f"{'':<8} {text}"]


@dataclass(frozen=True)
class _Answers:
    """A ROM that knows some answers."""

    rom: str
    answers: Mapping[tuple[str, int], int]

    def __call__(self, argument: int) -> int:
        if (self.rom, argument) not in self.answers:
            raise LookupError(f"the case does not say what {self.rom}({argument}) answers")
        return self.answers[self.rom, argument]
