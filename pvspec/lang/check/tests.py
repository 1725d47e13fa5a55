"""The `test` blocks: whether each case can be run at all.

Expected assembly is checked with the other code, in `compiler.sound`; the outcome is checked by running the case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

from pvspec.engine.guards import Vulnerability, questions
from pvspec.engine.records import fits
from pvspec.engine.spec import Cpu, Field, policy_guards
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import VENDORS
from pvspec.lang.check.names import unknown
from pvspec.lang.check.numbers import hex_bytes
from pvspec.lang.check.tested import MAX_SITE, Tested, table_address
from pvspec.lang.diagnostics import Findings, count
from pvspec.lang.source import Span

MAX_TEXT = 64 << 20
"""Bytes from the lowest to the highest address of a case in a `test` block; a case that spans more is refused."""


def sound_tests(spec: model.Spec, findings: Findings) -> tuple[ast.Test, ...]:
    """The tests without the cases that cannot be run or whose settings have no effect: those are findings."""
    files = frozenset(
        question.file
        for guard in policy_guards(spec.policy)
        for question in questions(guard)
        if isinstance(question, Vulnerability)
    )
    return tuple(test.changed(cases=tuple(_sound_cases(test, spec, files, findings))) for test in spec.tests)


def _sound_cases(
    test: ast.Test, spec: model.Spec, vulnerabilities: Collection[str], findings: Findings
) -> Iterator[ast.Case]:
    known: dict[str | None, _Known] = {}
    for case in test.cases:
        tested = Tested(test.name.text, case, spec)
        chosen = next((item.name.text for item in case.settings if item.kind == "backend" and item.name), None)
        if chosen not in known:
            known[chosen] = _Known(tested, vulnerabilities)
        before = len(findings.found)
        _Case(tested, known[chosen], findings).check()
        if len(findings.found) == before:
            yield case


class _Known:
    """What the cases of a test may bind; the same for all cases with the same backend."""

    def __init__(self, tested: Tested, vulnerabilities: Collection[str]) -> None:
        spec, interface = tested.spec, tested.interface
        self.options: dict[str, bool] = {}
        self.symbols = tested.symbols
        self.protects: set[str] = set()
        for names in tested.names:
            self.options.update(names.options)
            self.protects.update(names.protects)
        self.ops: Mapping[str, model.Op] = interface.ops if interface else {}
        self.switches = interface.names.options if interface else {}
        self.queries = set(_queries(tested.backend)) if tested.backend else set()
        self.roms: Mapping[str, model.Rom] = tested.backend.roms if tested.backend else {}
        self.settings: Mapping[str, tuple[str, Collection[str]]] = {
            "truth": ("option", self.options),
            "nops": ("nop table", spec.machine.nops),
            "cpu": ("feature", spec.machine.features),
            "vendor": ("vendor", VENDORS),
            "backend": ("backend", spec.backends),
            "symbol": ("symbol", self.symbols),
            "vulnerability": ("vulnerability", vulnerabilities),
            "extent": ("protected function", self.protects),
            "answer": ("rom", self.roms),
        }
        self.family = tested.family if tested.backend is None else None
        self.layout = self.family.layout if self.family is not None else interface.layout if interface else None
        self.fields = {field.name: field for field in self.layout.fields} if self.layout is not None else {}
        self.longest = min((1 << self.fields["len"].bits) - 1, MAX_SITE) if "len" in self.fields else MAX_SITE
        masked = interface is not None and self.family is None and ("clobber" in self.fields or self.layout is None)
        self.clobbers = {"any", "none", *interface.clobbers} if interface is not None and masked else set()


def _queries(backend: model.Backend) -> Iterator[tuple[str, int]]:
    """The queries that the backend's rules make to its ROMs."""
    if backend.roms:
        for rule in (*backend.rules, *([backend.otherwise] if backend.otherwise else [])):
            for arm in rule.chain:
                if isinstance(arm.action, model.Query):
                    yield arm.action.rom, arm.action.argument


class _Case:
    """The checks of one case."""

    def __init__(self, tested: Tested, known: _Known, findings: Findings) -> None:
        self.tested = tested
        self.case = tested.case
        self.known = known
        self.findings = findings
        self.family = known.family
        self.limit = 1 << tested.spec.machine.bits

    def check(self) -> None:
        """Runs all checks; those of addresses only if every byte and length is known."""
        before = len(self.findings.found)
        self._settings()
        self._op()
        self._clobbers()
        self._length()
        self._fields()
        self._wants()
        for item in self.case.memory:
            hex_bytes(item.contents, self.findings)
        if len(self.findings.found) == before:
            self._addresses()

    # ---- the site

    def _op(self) -> None:
        op = self.case.op
        if self.family is not None:
            if op is not None:
                self.findings.add("PV305", "a case of a family cannot name an op", (op.span, "remove it"))
        elif op is None:
            self.findings.add("PV502", "the case names no op", (self.case.span, "write an op before `at`"))
        elif op.text not in self.known.ops:
            unknown(op, "op", self.known.ops, self.findings)
        elif self._configuration() not in self.known.ops[op.text].numbers:
            self.findings.add("PV502", f"`{op.text}` does not exist with these options", (op.span, ""))

    def _configuration(self) -> model.Configuration:
        """The interface's options in this case."""
        chosen = {
            item.name.text: value.value
            for item in self.case.settings
            if item.kind == "truth" and item.name is not None
            for value in item.values
            if isinstance(value, ast.Truth)
        }
        return tuple(chosen.get(name, default) for name, default in self.known.switches.items())

    def _clobbers(self) -> None:
        for names in self.case.clobbers:
            for name in names:
                if not self.known.clobbers:
                    text = "the record lacks a clobber mask"
                    self.findings.add("PV305", "`clobbers` has no meaning here", (name.span, text))
                elif name.text not in self.known.clobbers:
                    unknown(name, "clobber register", self.known.clobbers, self.findings)
        self._once("clobbers", [names[0].span for names in self.case.clobbers])

    def _length(self) -> None:
        case, family = self.case, self.family
        self._once("len", [number.span for number in case.lengths])
        self._once("original", [text.span for text in case.originals])
        fixed = family.length if family is not None else None
        for number in case.lengths:
            longest = self.known.longest
            if fixed is not None and number.value != fixed:
                text = f"every site of `{self.tested.name}` is {count(fixed, 'byte')} long"
                self.findings.add(
                    "PV502", f"this site cannot be {count(number.value, 'byte')} long", (number.span, text)
                )
            elif number.value > longest:
                self.findings.add("PV202", f"len {number.value} is out of range", (number.span, f"0 to {longest}"))
        for original in case.originals:
            before = len(self.findings.found)
            code = hex_bytes(original, self.findings)
            length = fixed if fixed is not None else next((number.value for number in case.lengths), len(code))
            if len(code) != length and len(self.findings.found) == before:
                text = f"the site is {count(length, 'byte')} long"
                self.findings.add("PV502", f"`original` is {count(len(code), 'byte')} long", (original.span, text))
        if family is not None and family.decoded and not case.originals:
            text = "add `original`: the site is as long as its instruction"
            self.findings.add("PV502", "the case lacks the site's original instruction", (case.address.span, text))
        elif fixed is None and not case.lengths and not case.originals:
            message = "the case lacks the site's length"
            self.findings.add("PV502", message, (case.address.span, "add `len N`"))

    def _once(self, what: str, spans: list[Span]) -> None:
        for span in spans[1:]:
            self.findings.add("PV102", f"`{what}` is set twice", (span, "again here"), (spans[0], "first here"))

    # ---- the record

    def _fields(self) -> None:
        fields = self.known.fields
        spans: dict[str, Span] = {}
        for item in self.case.fields:
            name = item.name
            if self.family is None:
                text = "an op's record is set by `at`, `len` and `clobbers`"
                self.findings.add("PV305", f"`{name.text}` cannot be set here", (name.span, text))
                continue
            if name.text not in fields:
                unknown(name, "field", fields, self.findings)
            elif name.text in spans:
                labels = (name.span, "again here"), (spans[name.text], "first here")
                self.findings.add("PV102", f"`{name.text}` is set twice", *labels)
            elif name.text == "site":
                self.findings.add("PV102", "`site` is set twice", (name.span, ""), (self.case.address.span, "by `at`"))
            spans[name.text] = name.span
            self._value(item)

    def _value(self, item: ast.FieldValue) -> None:
        if isinstance(item.value, ast.Text):
            hex_bytes(item.value, self.findings)
        elif isinstance(item.value, ast.Name):
            features = self.tested.spec.machine.features
            number = features.get(item.value.text)
            if number is None:
                unknown(item.value, "feature", features, self.findings)
            elif number < 0:
                text = "declared without a number"
                message = f"no record can name feature `{item.value.text}`"
                self.findings.add("PV305", message, (item.value.span, text))

    # ---- what is bound

    def _settings(self) -> None:
        settings: dict[tuple[str, str, int], Span] = {}
        for item in self.case.settings:
            name = item.name.text if item.name else ""
            first = item.values[0] if item.values else None
            argument = first.value if item.kind == "answer" and isinstance(first, ast.Number) else 0
            key = item.kind, "" if item.kind in _ONE_OF_A_KIND else name, argument
            if key in settings:
                self.findings.add(
                    "PV102", "a setting is repeated", (item.span, "again here"), (settings[key], "first here")
                )
            settings.setdefault(key, item.span)
            self._setting(item, name)
        self._cpu_numbers()

    def _setting(self, item: ast.Setting, name: str) -> None:
        if item.kind == "number":
            self._number(item, name)
        elif item.kind in self.known.settings:
            what, known = self.known.settings[item.kind]
            if item.name is not None and name not in known:
                unknown(item.name, what, known, self.findings)
            elif item.kind == "symbol":
                self._addresses_of(item)
            elif item.kind == "answer":
                self._answer(item, self.known.roms[name])
            elif item.kind == "extent":
                self._extent(item)
            elif item.kind == "backend" and self.family is None:
                text = f"this is the test of backend `{self.tested.name}`"
                self.findings.add("PV305", "another backend cannot be chosen here", (item.span, text))
        elif item.kind == "cpus":
            self._at_least_one(item)

    def _number(self, item: ast.Setting, name: str) -> None:
        assert item.name is not None
        if name not in self.known.ops and name not in self.known.symbols:
            unknown(item.name, "op or symbol", [*self.known.ops, *self.known.symbols], self.findings)
        self._addresses_of(item)

    def _addresses_of(self, item: ast.Setting) -> None:
        for value in item.values:
            if isinstance(value, ast.Number):
                self._address(value)

    def _address(self, number: ast.Number) -> bool:
        if number.value >= self.limit:
            bits = self.tested.spec.machine.bits
            text = f"addresses of this machine are {bits} bits wide"
            self.findings.add("PV202", f"address {number.value:#x} is out of range", (number.span, text))
        return number.value < self.limit

    def _at_least_one(self, item: ast.Setting) -> None:
        for value in item.values:
            if isinstance(value, ast.Number) and value.value < 1:
                self.findings.add("PV202", f"cpus {value.value} is out of range", (value.span, "at least 1"))

    def _extent(self, item: ast.Setting) -> None:
        low, high = (value for value in item.values if isinstance(value, ast.Number))
        if not low.value < high.value:
            text = "END must be greater than START"
            self.findings.add("PV202", "empty or inverted range", (low.span.to(high.span), text))
        elif high.value > self.limit:
            self._address(high)

    def _cpu_numbers(self) -> None:
        numbers = [item for item in self.case.settings if item.kind in _CPU_NUMBERS]
        if numbers and not any(item.kind == "vendor" for item in self.case.settings):
            text = "add `cpu vendor = NAME`"
            self.findings.add("PV502", f"`cpu {numbers[0].kind}` needs a vendor", (numbers[0].span, text))

    def _answer(self, item: ast.Setting, rom: model.Rom) -> None:
        argument, kind, *rest = item.values
        if isinstance(argument, ast.Number) and (rom.name, argument.value) not in self.known.queries:
            text = f"no rule queries `{rom.name}({argument.value})`"
            self.findings.add("PV305", "an answer that no rule queries", (argument.span, text))
        names = {answer.name for answer in rom.answers.values()}
        if isinstance(kind, ast.Name) and kind.text not in names:
            unknown(kind, "answer", names, self.findings)
        others = [field for field in rom.layout.fields if field.name != "type"]
        if isinstance(kind, ast.Number):
            self._holds(kind, [field for field in rom.layout.fields if field.name == "type"])
        for value in rest:
            if not others:
                self.findings.add(
                    "PV305", "this answer has no address", (value.span, f"`{rom.name}` returns only a type")
                )
            elif isinstance(value, ast.Number):
                self._holds(value, others)

    def _holds(self, number: ast.Number, fields: Collection[Field]) -> None:
        for field in fields:
            if not fits(number.value, field.bits, False):
                text = f"`{field.name}` holds {count(field.bits, 'bit')}"
                self.findings.add("PV202", f"{number.value:#x} is out of range", (number.span, text))

    # ---- what is expected

    def _wants(self) -> None:
        wants = self.case.wants
        for want in wants:
            if want.kind in ("keep", "bug") and len(wants) > 1:
                span = wants[0].span.to(wants[-1].span)
                self.findings.add("PV502", f"`{want.kind}` must be the only outcome", (span, "remove the rest"))
                break
        for want, after in pairwise(wants):
            if want.kind == "nops":
                self.findings.add("PV502", "`nops` fills the rest of the site", (after.span, "nothing can follow it"))
        for want in wants:
            if want.kind == "bytes" and isinstance(want.value, ast.Text):
                hex_bytes(want.value, self.findings)
            elif isinstance(want.value, ast.Number):
                self._address(want.value)

    # ---- addresses

    def _addresses(self) -> None:
        extents = list(self._extents())
        for _, end, span in extents:
            if end > self.limit:
                text = f"the last address is {self.limit - 1:#x}"
                self.findings.add("PV202", f"address {end - 1:#x} is out of range", (span, text))
                return
        extents.sort(key=lambda extent: extent[0])
        for (_, end, one), (start, _, other) in pairwise(extents):
            if start < end:
                labels = (other, "again here"), (one, "first here")
                self.findings.add("PV502", f"the case sets the bytes at {start:#x} twice", *labels)
                return
        first, last = extents[0][0], max(end for _, end, _ in extents)
        if last - first > MAX_TEXT:
            message = f"the case's addresses are more than {MAX_TEXT >> 20} MiB apart"
            self.findings.add("PV502", message, (self.case.span, f"from {first:#x} to {last:#x}"))
        elif self.family is not None:
            self._record(table_address(first, last))
            self._place(self.family)

    def _extents(self) -> Iterator[tuple[int, int, Span]]:
        """The memory that the case describes: start, end, and where the case sets it."""
        address = self.case.address
        yield address.value, address.value + (self.tested.length or 0), address.span
        for item in (part for part in self.case.memory if not part.running):
            yield item.address.value, item.address.value + len(bytes.fromhex(item.contents.value)), item.address.span
        for value in self.case.fields:
            if isinstance(value.value, ast.Text) and value.address is not None:
                start = value.address.value
                yield start, start + len(bytes.fromhex(value.value.value)), value.address.span

    def _place(self, family: model.Family) -> None:
        """Whether the record leads to the site, if one of its fields gives the site's address."""
        name, addend = family.place
        if not any(field.name == name and (addend or not field.relative) for field in family.layout.fields):
            return
        address = self.case.address
        for item in self.case.fields:
            number = item.address or item.value
            if item.name.text == name and isinstance(number, ast.Number):
                if number.value + addend != address.value:
                    labels = (address.span, f"`{name}` leads to {number.value + addend:#x}"), (number.span, "")
                    self.findings.add("PV502", "the record leads elsewhere", *labels)
                return
        if name != "site":
            self.findings.add("PV502", "the record does not lead to the site", (address.span, f"add `{name}`"))

    def _record(self, table: int) -> None:
        """Whether the record's fields can hold their values, as `engine.records` builds it."""
        values = {item.name.text: item.address or item.value for item in self.case.fields}
        for field in self.known.fields.values():
            number = self.case.address if field.name == "site" else values.get(field.name)
            if not isinstance(number, ast.Number):
                continue
            stored = number.value - (table + field.at // 8) if field.relative else number.value
            if not fits(stored >> field.shift, field.bits, field.relative) or stored & (1 << field.shift) - 1:
                shifted = f", shifted left by {field.shift}" if field.shift else ""
                text = f"`{field.name}` holds {count(field.bits, 'bit')}{shifted}"
                text += ", relative to the field's address" if field.relative else ""
                self.findings.add("PV202", f"{number.value:#x} does not fit the record", (number.span, text))


_CPU_NUMBERS = frozenset(Cpu._fields) - {"vendor"}
_ONE_OF_A_KIND = frozenset({"nops", "backend", "vendor"})  # whatever name follows
