"""What is bound for one kernel: values for the spec's names, what the kernel decided, and which guards hold."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any, TypeAlias, TypeVar

from pvspec.engine.records import fits
from pvspec.engine.spec import BindError, Cpu, Guard, Names, Spec

K = TypeVar("K", int, str)
T = TypeVar("T")

Site: TypeAlias = Mapping[str, Any]
Condition: TypeAlias = bool | Callable[[Site], bool]
"""What a guard comes to: decided by what is bound, or by each site."""

# What sites tell guards and holes. Spec names have no space, so a symbol `type` is no clash.
OP, NUMBER, CODE, BRANCH, PEEK = "op name", "op number", "site's code", "site's branch", "text"


class Binding:
    """One kernel's values for a spec's names.

    `targets`: op number to function address, as in the kernel's own table of ops (0: no function); `settled`: as the
    hypervisor left it, not as the image has it. `tables`: other tables of functions, by symbol. `symbols`: name to
    address. `options`: name to bool, where the default is not meant. `nops`: a nop table's name; without it the spec
    chooses. `features` (names or numbers): what the kernel decided by; with `cpu` what the CPU has, from which the
    spec's policy decides the rest. `rom`: name to a function from the argument to the answer as the ROM returns it, an
    integer. `cpus`: processors in the machine. `cmdline`: the kernel's command line. `vulnerabilities`: what a running
    kernel says in the files of that name. `protect`: name of a protected function to its addresses [start, end).
    BindError: the spec has no such backend, option, nop table or feature, or a value is no address of the machine;
    what a rule asks for and is not bound is missed when it asks.
    """

    def __init__(
        self,
        spec: Spec,
        backend: str | None = None,
        *,
        targets: Mapping[int, int] | None = None,
        settled: bool = False,
        tables: Mapping[str, Mapping[int, int]] | None = None,
        symbols: Mapping[str, int] | None = None,
        options: Mapping[str, bool] | None = None,
        nops: str | None = None,
        rom: Mapping[str, Callable[[int], int]] | None = None,
        features: Iterable[str | int] = (),
        cpu: Cpu | None = None,
        cpus: int | None = None,
        cmdline: str = "",
        vulnerabilities: Mapping[str, str] | None = None,
        protect: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.spec = spec
        self.backend = None if backend is None else _pick(spec.backends, backend, "backend")
        self.targets = _addresses(spec, targets or {}, "the target of op")
        self.settled = settled
        self.tables = dict(tables or {})
        self.symbols = _addresses(spec, symbols or {}, "symbol")
        self.rom = dict(rom or {})
        self.cpu = cpu
        self.cpus = cpus
        self.words = frozenset(_words(cmdline))
        self.vulnerabilities = dict(vulnerabilities or {})
        self.protect = dict(protect or {})
        self.options = _options(self._parties(), options or {})
        self._mask = (1 << spec.machine.bits) - 1
        self._ops = self._op_numbers()
        self._numbers = {name: number for number, name in self._ops.items()}
        self._conditions: dict[Guard, Condition] = {}
        self.features = spec.machine.always | {_feature(spec, feature) for feature in features}
        if cpu is not None:
            self._decide()
        self.nops_name = self._nop_table(nops)
        self.nops = _pick(spec.machine.nops, self.nops_name, "nop table")

    def symbol(self, name: str) -> int:
        """A symbol's address; BindError if it is not bound."""
        if name not in self.symbols:
            raise BindError(f"symbol {name} is not bound")
        return self.symbols[name]

    def protected(self, names: Names) -> dict[str, tuple[int, int]]:
        """Where the protected functions lie; BindError if one is not bound."""
        for name in sorted(names.protects - set(self.protect)):
            raise BindError(f"the place of {name} is not bound; the poke runs it, so no site may lie there")
        return {name: self.protect[name] for name in sorted(names.protects)}

    def target(self, number: int) -> int:
        """The function in an op's slot, as the hypervisor leaves it (0: none); BindError if it is not bound."""
        op = self._ops.get(number, "")
        for target in reversed(self.backend.targets if self.backend and not self.settled else ()):
            if op not in target.ops or not (target.guard is None or self.holds(target.guard, {})):
                continue
            if not target.table:
                return 0 if target.symbol is None else self.symbol(target.symbol)
            table = self.tables.get(str(target.symbol), {})
            if number not in table:
                raise BindError(f"the table {target.symbol} is not bound, or has no op {op}")
            return table[number]
        if number not in self.targets:
            raise BindError(f"the target of op {op} ({number}) is not bound")
        return self.targets[number]

    def holds(self, guard: Guard, site: Site) -> bool:
        """Whether a guard is true of a site; BindError if it asks for something that is not bound."""
        condition = self.condition(guard)
        return condition if isinstance(condition, bool) else condition(site)

    def condition(self, guard: Guard) -> Condition:
        """The guard as far as it is decided by what is bound."""
        found = self._conditions.get(guard)
        if found is None:
            found = self._conditions[guard] = _CONDITIONS[guard[0]](self, *guard[1:])
        return found

    # ---- guards, one method a kind

    def _any(self, *parts: Guard) -> Condition:
        conditions = [self.condition(part) for part in parts]
        open_ = [condition for condition in conditions if not isinstance(condition, bool)]
        if True in conditions or not open_:
            return True in conditions
        return open_[0] if len(open_) == 1 else _until(True, open_)

    def _all(self, *parts: Guard) -> Condition:
        conditions = [self.condition(part) for part in parts]
        open_ = [condition for condition in conditions if not isinstance(condition, bool)]
        if False in conditions or not open_:
            return False not in conditions
        return open_[0] if len(open_) == 1 else _until(False, open_)

    def _not(self, part: Guard) -> Condition:
        condition = self.condition(part)
        return not condition if isinstance(condition, bool) else lambda site: not condition(site)

    def _target_is(self, name: str | None) -> Condition:
        def is_it(site: Site) -> bool:
            return self.target(site[NUMBER]) == (0 if name is None else self.symbol(name))

        return is_it

    def _op_target(self, op: str, name: str | None) -> Condition:
        return self._bound(lambda: self.target(self._numbers[op]) == (0 if name is None else self.symbol(name)))

    def _noreturn(self) -> Condition:
        names = self.spec.interface.noreturn if self.spec.interface else frozenset()
        return lambda site: site[OP] in names

    def _cpu_has(self, feature: int) -> Condition:
        return feature in self.features

    def _cpu_field(self, name: str) -> Condition:
        return lambda site: site[name] in self.features

    def _cpu_vendor(self, vendor: str) -> Condition:
        return self._bound(lambda: self._cpu().vendor == vendor)

    def _cpu_number(self, what: str, compare: str, value: int) -> Condition:
        return self._bound(lambda: _COMPARE[compare](getattr(self._cpu(), what), value))

    def _cpus(self, compare: str, count: int) -> Condition:
        return self._bound(lambda: _COMPARE[compare](self._cpu_count(), count))

    def _cmdline(self, word: str) -> Condition:
        return word in self.words

    def _kernel_has(self, name: str) -> Condition:
        return name in self.symbols

    def _vulnerability(self, name: str, how: str, text: str) -> Condition:
        said = self.vulnerabilities.get(name, "")
        return said.startswith(text) if how == "begins" else text in said

    def _backend_is(self, name: str) -> Condition:
        return self.backend is not None and self.backend.name == name

    def _nops_are(self, name: str) -> Condition:
        return self.nops_name == name

    def _option(self, name: str) -> Condition:
        return self.options[name]

    def _within(self, name: str, first: str, last: str) -> Condition:
        if first in self.symbols and last in self.symbols:
            low, high = self.symbols[first], self.symbols[last]
            return lambda site: low <= site[name] < high
        return lambda site: self.symbol(first) <= site[name] < self.symbol(last)

    def _branch(self, prefixed: bool, opcode: int, name: str) -> Condition:
        if name not in self.symbols:
            return lambda site: site[BRANCH][:2] == (prefixed, opcode) and bool(self.symbol(name))
        branch = prefixed, opcode, self.symbols[name]
        return lambda site: bool(site[BRANCH] == branch)

    def _begins(self, name: str, addend: int, code: bytes) -> Condition:
        if name == "site" and not addend:
            return lambda site: site[CODE].startswith(code)
        return lambda site: site[PEEK](site[name] + addend & self._mask, len(code)) == code

    def _field(self, name: str) -> Condition:
        return lambda site: bool(site[name])

    def _compares(self, name: str, compare: str, value: int) -> Condition:
        compares = _COMPARE[compare]
        return lambda site: compares(site[name], value)

    def _bits_of(self, name: str, addend: int, mask: int) -> Condition:
        return lambda site: bool(site[name] + addend & mask)

    def _is(self, name: str, symbol: str | None) -> Condition:
        address = 0 if symbol is None else self.symbols.get(symbol)
        if address is None:
            return lambda site: bool(site[name] == self.symbol(str(symbol)))
        return lambda site: bool(site[name] == address)

    # ---- what is bound

    def _bound(self, decide: Callable[[], bool]) -> Condition:
        """What is bound decides; where something is missing, whoever asks shall miss it."""
        try:
            return decide()
        except BindError:
            return lambda site: decide()

    def _decide(self) -> None:
        """The kernel's decisions about itself, one after the other."""
        for decision in self.spec.policy:
            if decision.guard is None or self.holds(decision.guard, {}):
                chosen = frozenset((*decision.features, *self._listed(decision.listed, decision.numbers)))
                self.features = self.features | chosen if decision.sets else self.features - chosen
                self._conditions.clear()

    def _listed(self, word: str, numbers: bool) -> Iterator[int]:
        """The features that the command line lists behind a word."""
        shown = self.spec.machine.shown
        for found in self.words if word else ():
            names = found[len(word) :].split(",") if found.startswith(word) else []
            if numbers:
                names = list(takewhile(str.isdecimal, names))
            yield from (shown[name] for name in names if name in shown)
            yield from (int(name) for name in names if name.isdecimal())

    def _cpu(self) -> Cpu:
        if self.cpu is None:
            raise BindError("the cpu's vendor and numbers are not bound")
        return self.cpu

    def _cpu_count(self) -> int:
        if self.cpus is None:
            raise BindError("the number of cpus is not bound")
        return self.cpus

    def _parties(self) -> list[Names]:
        parties = [family.names for family in self.spec.families.values()]
        parties += [self.spec.interface.names] if self.spec.interface else []
        return parties + ([self.backend.names] if self.backend else [])

    def _op_numbers(self) -> Mapping[int, str]:
        interface = self.spec.interface
        if interface is None:
            return {}
        return interface.numbers[tuple(self.options[name] for name in interface.names.options)]

    def _nop_table(self, name: str | None) -> str:
        chosen = (n for n, guard in self.spec.machine.choices if guard is None or self.holds(guard, {}))
        return name if name is not None else next(chosen, "")


def _until(decisive: bool, conditions: Iterable[Callable[[Site], bool]]) -> Callable[[Site], bool]:
    """Whether one comes to what is decisive; a loop takes half the time of `any` and `all`, a million times."""

    def holds(site: Site) -> bool:
        for condition in conditions:
            if condition(site) is decisive:
                return decisive
        return not decisive

    return holds


_CONDITIONS: dict[str, Callable[..., Condition]] = {
    "any": Binding._any,
    "all": Binding._all,
    "not": Binding._not,
    "target": Binding._target_is,
    "op target": Binding._op_target,
    "noreturn": Binding._noreturn,
    "cpu": Binding._cpu_has,
    "cpu field": Binding._cpu_field,
    "vendor": Binding._cpu_vendor,
    "cpu number": Binding._cpu_number,
    "cpus": Binding._cpus,
    "cmdline": Binding._cmdline,
    "kernel": Binding._kernel_has,
    "vulnerability": Binding._vulnerability,
    "backend": Binding._backend_is,
    "nops": Binding._nops_are,
    "option": Binding._option,
    "within": Binding._within,
    "branch": Binding._branch,
    "begins": Binding._begins,
    "field": Binding._field,
    "compares": Binding._compares,
    "bits": Binding._bits_of,
    "is": Binding._is,
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


def _words(cmdline: str) -> Iterable[str]:
    """The words that count: of several with a value, NAME=VALUE, the last (arch/x86/lib/cmdline.c)."""
    return {name + equals: word for word in cmdline.split() for name, equals, _ in [word.partition("=")]}.values()


def _pick(known: Mapping[str, T], name: str, what: str) -> T:
    if name not in known:
        raise BindError(f"there is no {what} {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _addresses(spec: Spec, bound: Mapping[K, int], what: str) -> dict[K, int]:
    for name, value in bound.items():
        if not fits(value, spec.machine.bits, False):
            raise BindError(f"{what} {name} is bound to {value:#x}, which is no {spec.machine.bits}-bit address")
    return dict(bound)


def _feature(spec: Spec, feature: str | int) -> int:
    return _pick(spec.machine.features, feature, "feature") if isinstance(feature, str) else feature


def _options(parties: Iterable[Names], chosen: Mapping[str, bool]) -> dict[str, bool]:
    options = {name: default for party in parties for name, default in party.options.items()}
    for name, value in chosen.items():
        _pick(options, name, "option")
        options[name] = bool(value)
    return options
