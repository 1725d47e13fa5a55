"""What a kernel decides by its facts: features, nop table, the functions that its ops call; and what guards come to."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import TypeAlias, assert_never

from pvspec.engine.command_line import read_line
from pvspec.engine.errors import BindError
from pvspec.engine.facts import Facts, pick
from pvspec.engine.guards import (
    BackendIs,
    Begins,
    Branches,
    Compares,
    CpuHas,
    CpuHasField,
    CpuNumber,
    Cpus,
    CpuVendor,
    FactQuestion,
    Guard,
    HasBits,
    HasConfig,
    Holds,
    IsAddress,
    KernelHas,
    Nonzero,
    NopsAre,
    OpenQuestion,
    OpNoreturn,
    OpTargetIs,
    OptionSet,
    Question,
    TargetIs,
    Test,
    ValueQuestion,
    VariableCompares,
    VariableIs,
    Vulnerability,
    Within,
    questions,
    staged,
)
from pvspec.engine.policy import Decisions
from pvspec.engine.site import Site
from pvspec.engine.spec import Cpu, Names, Spec, Target
from pvspec.engine.value import Map, Value

Condition: TypeAlias = bool | Test
"""What a guard comes to: decided by the facts, or by each site."""


class Unanswered(BindError):
    """A decision asks for a number that is not bound, and nothing answers the question; None where a site asked it."""

    def __init__(self, message: str, question: OpenQuestion | None = None) -> None:
        super().__init__(message, question)
        self.question = question

    def __str__(self) -> str:
        return str(self.args[0])


class Decided:
    """A kernel's facts and what it decides by them; it answers guards.

    `features` are the numbers of those that it decided by, `nops` its nop table with the name `nops_name`, `line` its
    command line as it read it, and `decisions` what its policy came to.
    """

    def __init__(self, facts: Facts) -> None:
        """BindError if a decision asks for a fact that is not bound."""
        spec = facts.spec
        self.facts = facts
        self.backend = None if facts.backend is None else spec.backends[facts.backend]
        self.line = read_line(facts.cmdline, spec.command_line)
        self._mask = (1 << spec.machine.bits) - 1
        self._ops = self._op_names()
        self._numbers = {name: number for number, name in self._ops.items()}
        self._conditions: dict[Guard, Condition] = {}
        self.nops_name = facts.nops or ""
        self.decisions = Decisions(facts, self.line)
        if facts.cpu is not None:
            self.decisions.run(spec.policy, self._holds_now)
            self._conditions.clear()
        self.features = self.decisions.features
        if facts.nops is None:
            choices = spec.machine.choices
            self.nops_name = next((name for name, guard in choices if self.decides(guard)), "")
        self.nops = pick(spec.machine.nops, self.nops_name, "nop table")

    def __reduce__(self) -> tuple[type[Decided], tuple[Facts]]:
        return type(self), (self.facts,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.facts!r})"

    @property
    def spec(self) -> Spec:
        """The spec by which the kernel decides."""
        return self.facts.spec

    def symbol(self, name: str) -> int:
        """A symbol's address; BindError if it is not bound."""
        address = self.facts.symbols.get(name)
        if address is None:
            raise BindError(f"symbol {name} is not bound")
        return address

    def protected(self, names: Names) -> dict[str, tuple[int, int]]:
        """Where the protected functions are; BindError if one is not bound."""
        protect = self.facts.protect
        for name in sorted(names.protects - set(protect)):
            raise BindError(f"protected function {name} is not bound; the poke runs it, so no site may be there")
        return {name: protect[name] for name in sorted(names.protects)}

    def op_name(self, number: int) -> str | None:
        """The name of an op, None if there is none with this number."""
        return self._ops.get(number)

    def target(self, number: int) -> int:
        """The function in an op's slot, as the hypervisor leaves it (0: none); BindError if it is not bound."""
        op = self._ops.get(number, "")
        target = self._hypervisors(op)
        if target is None:
            if number not in self.facts.targets:
                raise BindError(f"the target of op {op} ({number}) is not bound")
            return self.facts.targets[number]
        if not target.table:
            return 0 if target.symbol is None else self.symbol(target.symbol)
        table = self.facts.tables.get(str(target.symbol), Map())
        if number not in table:
            raise BindError(f"the table {target.symbol} is not bound, or has no op {op}")
        return table[number]

    def _hypervisors(self, op: str) -> Target | None:
        """What the hypervisor puts into an op's slot: the last target that holds counts."""
        targets = self.backend.targets if self.backend is not None and not self.facts.settled else ()
        return next((t for t in reversed(targets) if op in t.ops and self.decides(t.guard)), None)

    # ---- guards

    def holds(self, guard: Guard, site: Site) -> bool:
        """Whether a guard is true of a site; BindError if it asks for something that is not bound."""
        condition = self.condition(guard)
        return condition if isinstance(condition, bool) else bool(condition(site))

    def decides(self, guard: Guard | None) -> bool:
        """Whether a guard that asks for no site is true; BindError if it asks for something that is not bound."""
        return guard is None or self.holds(guard, _NO_SITE)

    def _holds_now(self, guard: Guard) -> bool:
        """As `decides`, while what the answer depends on may still change."""
        self._conditions.clear()
        decisions = self.decisions
        if decisions.unsettled:
            asked = {question.feature for question in questions(guard) if isinstance(question, CpuHas)}
            unsettled = asked & decisions.unsettled - decisions.turned
            if unsettled and self._turns_on(unsettled, guard):
                decisions.turned |= unsettled
        verdict = staged(guard, self)
        return verdict if isinstance(verdict, bool) else bool(verdict and verdict(_NO_SITE))

    def _turns_on(self, features: set[int], guard: Guard) -> bool:
        """Whether a guard may come to something else if one of these features is there."""
        verdict = staged(guard, _Unsettled(self, features))
        try:
            return (verdict(_NO_SITE) if callable(verdict) else verdict) is None
        except BindError:
            return True

    def condition(self, guard: Guard) -> Condition:
        """The guard as far as the facts decide it."""
        found = self._conditions.get(guard)
        if found is None:
            verdict = staged(guard, self)
            assert verdict is not None, "the facts of a kernel leave nothing open"
            found = self._conditions[guard] = verdict
        return found

    def answer(self, question: Question) -> Condition:
        """The answer to one question: by the facts, or the test to put to each site.

        What is not bound is missed by the first site that is asked (BindError).
        """
        match question:
            case TargetIs() | OpNoreturn() | CpuHasField() | Branches():
                return self._of_site(question)
            case Within() | Begins() | Nonzero() | Compares() | HasBits() | IsAddress():
                return self._of_value(question)
        try:
            return self._of_facts(question)
        except BindError:
            return self._missed(question)

    def _missed(self, question: FactQuestion) -> Test:
        return lambda site: self._of_facts(question)

    def _of_facts(self, question: FactQuestion) -> bool:
        facts = self.facts
        match question:
            case CpuHas(feature):
                return feature in self.decisions.features
            case CpuVendor(vendor):
                return self._cpu().vendor == vendor
            case CpuNumber(what, compare, number):
                known: int | None = getattr(self._cpu(), what)
                if known is None:
                    return self._answered(question, f"the cpu's {what}")
                return COMPARE[compare](known, number)
            case Cpus(compare, count):
                if facts.cpus is None:
                    return self._answered(question, "the number of cpus")
                return COMPARE[compare](facts.cpus, count)
            case VariableIs(variable, value):
                return self.decisions.variables[variable] == value
            case VariableCompares(variable, compare, number):
                return COMPARE[compare](int(self.decisions.variables[variable]), number)
            case Holds(condition):
                return self.decisions.named[condition]
            case HasConfig(config):
                told = facts.config.get(config)
                return self.decides(self.spec.configs[config]) if told is None else told
            case KernelHas(symbol):
                return symbol in facts.symbols
            case Vulnerability(file, how, text):
                said = facts.vulnerabilities.get(file, "")
                return said.startswith(text) if how == "starts" else text in said
            case BackendIs(backend):
                return facts.backend == backend
            case NopsAre(table):
                return self.nops_name == table
            case OptionSet(option):
                return facts.options[option]
            case OpTargetIs(op, name):
                return self.target(self._numbers[op]) == self._symbol_or_null(name)
        assert_never(question)

    def _of_site(self, question: TargetIs | OpNoreturn | CpuHasField | Branches) -> Test:
        match question:
            case TargetIs(name):
                return lambda site: self.target(site.op_number) == self._symbol_or_null(name)
            case OpNoreturn():
                names = self.spec.interface.noreturn if self.spec.interface else frozenset[str]()
                return lambda site: site.op_name in names
            case CpuHasField(field):
                return lambda site: site[field] in self.features
            case Branches(prefixed, opcode, name):
                return self._branches(prefixed, opcode, name)
        assert_never(question)

    def _branches(self, prefixed: bool, opcode: int, name: str) -> Test:
        if opcode == _SHORT_JUMP:
            return lambda site: _short_jump(site, self._mask) == self._value_of(site, name)
        address = self.facts.symbols.get(name)
        if address is None:
            kind = prefixed, opcode
            return lambda site: site.branch[:2] == kind and site.branch[2] == self._value_of(site, name)
        branch = prefixed, opcode, address
        return lambda site: site.branch == branch

    def _value_of(self, site: Site, name: str) -> int:
        """A value of the site, else a symbol's address."""
        return site[name] if name in site else self.symbol(name)

    def _of_value(self, question: ValueQuestion) -> Test:
        match question:
            case Within(value, first, last):
                return self._within(value, first, last)
            case Begins("site", 0, code, b""):
                return lambda site: site.code.startswith(code)
            case Begins(value, addend, code, digits):
                mask, size = self._mask, len(code)
                if not digits:
                    return lambda site: site.peek(site[value] + addend & mask, size) == code
                return lambda site: _masked(site.peek(site[value] + addend & mask, size), digits) == code
            case Nonzero(value):
                return lambda site: bool(site[value])
            case Compares(value, compare, number):
                compares = COMPARE[compare]
                return lambda site: compares(site[value], number)
            case HasBits(value, addend, mask):
                return lambda site: bool(site[value] + addend & mask)
            case IsAddress(value, name):
                return self._is_address(value, name)
        assert_never(question)

    def _within(self, value: str, first: str, last: str) -> Test:
        low, high = self.facts.symbols.get(first), self.facts.symbols.get(last)
        if low is None or high is None:
            return lambda site: self.symbol(first) <= site[value] < self.symbol(last)
        start, end = low, high
        return lambda site: start <= site[value] < end

    def _is_address(self, value: str, name: str | None) -> Test:
        address = 0 if name is None else self.facts.symbols.get(name)
        if name is not None and address is None:
            other = name
            return lambda site: site[value] == self._value_of(site, other)
        return lambda site: site[value] == address

    def _symbol_or_null(self, name: str | None) -> int:
        """A symbol's address; 0 for null."""
        return 0 if name is None else self.symbol(name)

    def _cpu(self) -> Cpu:
        if self.facts.cpu is None:
            raise BindError("the cpu's vendor and numbers are not bound")
        return self.facts.cpu

    def _answered(self, question: OpenQuestion, what: str) -> bool:
        """The answer to a question about a number that is not bound."""
        answer = self.facts.answers.get(question)
        if answer is None:
            raise Unanswered(f"{what} is not bound", question)
        return answer

    def _op_names(self) -> Mapping[int, str]:
        interface = self.spec.interface
        if interface is None:
            return {}
        return interface.numbers[tuple(self.facts.options[name] for name in interface.names.options)]


class _Unsettled(Value):
    """A kernel as what answers guards, while nobody knows whether some features are there."""

    kernel: Decided
    features: set[int]

    def answer(self, question: Question) -> Condition | None:
        if isinstance(question, CpuHas) and question.feature in self.features:
            return None
        return self.kernel.answer(question)


def _masked(code: bytes, mask: bytes) -> bytes:
    """The code's bits that are in the mask."""
    return bytes(map(operator.and_, code, mask))


def _short_jump(site: Site, mask: int) -> int | None:
    """Where the short jump at a site leads; None if there is none."""
    code = site.code
    if len(code) < 2 or code[0] != _SHORT_JUMP:
        return None
    return site["site"] + 2 + int.from_bytes(code[1:2], signed=True) & mask


_NO_SITE = Site()
_SHORT_JUMP = 0xEB
COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
