"""The facts that one kernel of a spec is bound to, checked when they are put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeGuard, TypeVar

from pvspec.engine.errors import BindError
from pvspec.engine.guards import OpenQuestion
from pvspec.engine.records import fits
from pvspec.engine.spec import Backend, Cpu, Names, Spec
from pvspec.engine.value import K, Map, V, Value

T = TypeVar("T")

_MOST_LISTED = 12  # names in a message


class Facts(Value):
    """What is known of one kernel and the machine that it runs on: values for what a spec speaks of.

    `backend`: the name of who answers the ops. `targets`: op number to the address of its function, as in the kernel's
    own table of ops (0: no function); `settled`: as the hypervisor left that table, not as the image has it. `tables`:
    other tables of functions, by symbol. `symbols`: name to address. `options`: name to True or False, where the
    default is not meant. `nops`: a nop table's name; without it the spec chooses. `features` (names or numbers): what
    the kernel decided by; with `cpu` what the CPU has, from which the spec's policy decides the rest. `rom`: name to a
    function from the argument to the answer as the ROM returns it, an integer. `cpus`: processors in the machine, 1 or
    more. `cmdline`: the kernel's command line. `vulnerabilities`: what a running kernel says in the files of that
    name. `protect`: name of a protected function to its addresses (start, end), the end not included. `config`: whether
    the kernel was configured with what the spec calls so; of what is not named its symbols tell. `assumed`: features
    (names or numbers) that somebody told, whatever the CPU shows: True or False. `answers`: what holds of that which
    nothing tells: whether there is a feature that a policy leaves open, or a number that is not bound compares so.

    BindError: the spec knows no such name, or a value cannot be what it is bound to. What a rule asks for and is not
    bound is a BindError when it asks.
    """

    spec: Spec
    backend: str | None
    targets: Mapping[int, int]
    settled: bool
    tables: Mapping[str, Mapping[int, int]]
    symbols: Mapping[str, int]
    options: Mapping[str, bool]
    nops: str | None
    rom: Mapping[str, Callable[[int], int]]
    features: frozenset[int]
    cpu: Cpu | None
    cpus: int | None
    cmdline: str
    vulnerabilities: Mapping[str, str]
    protect: Mapping[str, tuple[int, int]]
    config: Mapping[str, bool]
    assumed: Mapping[int, bool]
    answers: Mapping[OpenQuestion, bool]

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
        config: Mapping[str, bool] | None = None,
        assumed: Mapping[str | int, bool] | None = None,
        answers: Mapping[OpenQuestion, bool] | None = None,
    ) -> None:
        check = _Checks(spec, None if backend is None else pick(spec.backends, backend, "backend"))
        chosen = check.options(options)
        super().__init__(
            spec,
            backend,
            check.targets(targets, chosen),
            check.truth(settled, "settled"),
            check.tables(tables, chosen),
            check.symbols(symbols),
            chosen,
            None if nops is None else check.nops(nops),
            check.rom(rom),
            check.features(features),
            None if cpu is None else check.cpu(cpu),
            None if cpus is None else check.number(cpus, "cpus", 1),
            check.text(cmdline, "cmdline"),
            check.vulnerabilities(vulnerabilities),
            check.protect(protect),
            check.config(config),
            check.assumed(assumed),
            check.answers(answers),
        )

    def __repr__(self) -> str:
        told = [f"backend={self.backend!r}", f"cpu={self.cpu!r}", f"cpus={self.cpus}", f"cmdline={self.cmdline!r}"]
        return f"Facts({', '.join(told)}, {len(self.features)} features, {len(self.symbols)} symbols)"


def pick(known: Mapping[str, T], name: str, what: str) -> T:
    """What a name stands for; BindError if there is no such `what`."""
    if not isinstance(name, str) or name not in known:
        raise BindError(f"there is no {what} {name!r}{_those(known)}")
    return known[name]


def _those(known: Iterable[str]) -> str:
    names = sorted(known)
    few = ", ".join(names) if len(names) <= _MOST_LISTED else f"{', '.join(names[:_MOST_LISTED])}, …"
    return f"; there are: {few or 'none'}"


class _Checks:
    """One check for each kind of fact; each returns the fact as it is kept."""

    def __init__(self, spec: Spec, backend: Backend | None) -> None:
        self.spec = spec
        self.backend = backend
        self.bits = spec.machine.bits

    # ---- the spec's names

    def options(self, given: Mapping[str, bool] | None) -> Map[str, bool]:
        """All options of the interface, the families and the backend: as given, else by default."""
        parties = [family.names for family in self.spec.families.values()]
        parties += [part.names for part in (self.spec.interface, self.backend) if part is not None]
        options = {name: default for party in parties for name, default in party.options.items()}
        for name, value in self._pairs(given, "options"):
            pick(options, name, "option")
            options[name] = self.truth(value, f"option {name}")
        return Map(options)

    def targets(self, given: Mapping[int, int] | None, options: Mapping[str, bool]) -> Map[int, int]:
        """Addresses of functions by op number."""
        return self._functions(given, "targets", "the target of op", options)

    def tables(
        self, given: Mapping[str, Mapping[int, int]] | None, options: Mapping[str, bool]
    ) -> Map[str, Map[int, int]]:
        """As `targets`, for other tables of functions."""
        targets = (target for backend in self.spec.backends.values() for target in backend.targets)
        known = {str(target.symbol): True for target in targets if target.table}
        tables = {}
        for name, table in self._pairs(given, "tables"):
            pick(known, name, "table of functions")
            tables[name] = self._functions(table, f"tables[{name!r}]", f"{name}: the target of op", options)
        return Map(tables)

    def _functions(
        self, given: Mapping[int, int] | None, what: str, each: str, options: Mapping[str, bool]
    ) -> Map[int, int]:
        interface = self.spec.interface
        numbers = interface.numbers[tuple(options[name] for name in interface.names.options)] if interface else Map()
        found = {}
        for number, address in self._pairs(given, what):
            if not is_number(number) or number not in numbers:
                raise BindError(f"{what}: there is no op with the number {number!r}")
            found[number] = self.address(address, f"{each} {number}")
        return Map(found)

    def symbols(self, given: Mapping[str, int] | None) -> Map[str, int]:
        """Addresses by the names of symbols that some rule may ask for."""
        found = {}
        known = symbol_names(self.spec) if given else frozenset()
        for name, address in self._pairs(given, "symbols"):
            if name not in known:
                raise BindError(f"the spec does not use the symbol {name!r}{_those(known)}")
            found[name] = self.address(address, f"symbol {name}")
        return Map(found)

    def protect(self, given: Mapping[str, tuple[int, int]] | None) -> Map[str, tuple[int, int]]:
        """Ranges of addresses by the names of protected functions."""
        known = dict.fromkeys(protected_names(self.spec), True)
        found = {}
        for name, extent in self._pairs(given, "protect"):
            pick(known, name, "protected function")
            found[name] = self._extent(extent, name)
        return Map(found)

    def _extent(self, extent: tuple[int, int], name: str) -> tuple[int, int]:
        if not isinstance(extent, tuple) or len(extent) != 2:
            raise BindError(f"protected function {name} is {extent!r}: it must be (start, end), two addresses")
        start, end = self.address(extent[0], f"the start of {name}"), self._end(extent[1], f"the end of {name}")
        if end <= start:
            raise BindError(
                f"protected function {name} is from {start:#x} to {end:#x}, which holds no byte: "
                "it must be (start, end), not (start, size)"
            )
        return start, end

    def nops(self, name: str) -> str:
        """A nop table's name."""
        pick(self.spec.machine.nops, name, "nop table")
        return name

    def rom(self, given: Mapping[str, Callable[[int], int]] | None) -> Map[str, Callable[[int], int]]:
        """Functions that answer for ROMs."""
        known = self.backend.roms if self.backend is not None else Map()
        found = {}
        for name, answers in self._pairs(given, "rom"):
            pick(known, name, "rom")
            if not callable(answers):
                raise BindError(f"rom {name} is bound to {answers!r}: it must be a function of the argument")
            found[name] = answers
        return Map(found)

    def features(self, given: Iterable[str | int]) -> frozenset[int]:
        """Numbers of features."""
        known = self.spec.machine.features
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise BindError(f"features are {given!r}: they must be a list of names or numbers")
        numbers = frozenset(known.values())
        return frozenset(self._feature(feature, known, numbers) for feature in given)

    def assumed(self, given: Mapping[str | int, bool] | None) -> Map[int, bool]:
        """Truths by the numbers of features."""
        known = self.spec.machine.features
        numbers, found = frozenset(known.values()), {}
        for feature, value in self._pairs(given, "assumed"):
            found[self._feature(feature, known, numbers)] = self.truth(value, f"feature {feature}")
        return Map(found)

    def config(self, given: Mapping[str, bool] | None) -> Map[str, bool]:
        """Truths by the names that the spec has for a configuration."""
        for name, value in self._pairs(given, "config"):
            pick(self.spec.configs, name, "config")
            self.truth(value, f"config {name}")
        return Map(given)

    def _feature(self, feature: str | int, known: Mapping[str, int], numbers: frozenset[int]) -> int:
        if isinstance(feature, str):
            return pick(known, feature, "feature")
        if not is_number(feature):
            raise BindError(f"there is no feature {feature!r}: a feature is a name or a number")
        if feature not in numbers and not 0 <= feature < 1 << 16:  # records name more than the spec does
            raise BindError(f"there is no feature with the number {feature}")
        return feature

    def answers(self, given: Mapping[OpenQuestion, bool] | None) -> Map[OpenQuestion, bool]:
        """Answers by questions that may be open."""
        found: dict[OpenQuestion, bool] = {}
        for question, answer in self._pairs(given, "answers"):
            if not isinstance(question, OpenQuestion):
                raise BindError(f"answers: {question!r} is never open")
            found[question] = self.truth(answer, f"the answer to {question!r}")
        return Map(found)

    # ---- the machine

    def cpu(self, cpu: Cpu) -> Cpu:
        """What a CPU calls itself; a `Cpu` of another module of pvspec's will do."""
        if not isinstance(cpu, tuple) or len(cpu) != len(Cpu._fields):
            raise BindError(f"cpu is {cpu!r}: it must be Cpu({', '.join(Cpu._fields)})")
        vendor, family, model, stepping, *rest = cpu
        self.text(vendor, "the cpu's vendor")
        numbers = {"family": family, "model": model, "stepping": stepping}
        numbers.update((what, number) for what, number in zip(Cpu._fields[4:], rest, strict=True) if number is not None)
        for what, number in numbers.items():
            self.number(number, f"the cpu's {what}", int(what == "threads"))
        return Cpu(*cpu)

    def vulnerabilities(self, given: Mapping[str, str] | None) -> Map[str, str]:
        """Texts by the names of files."""
        found = {}
        for name, said in self._pairs(given, "vulnerabilities"):
            found[self.text(name, "a vulnerability")] = self.text(said, f"vulnerability {name}")
        return Map(found)

    # ---- kinds of values

    def address(self, value: int, what: str) -> int:
        """An address of the machine."""
        if not is_number(value):
            raise BindError(f"{what} is bound to {value!r}, which is not an address")
        if not fits(value, self.bits, False):
            raise BindError(f"{what} is bound to {value:#x}, which is not a {self.bits}-bit address")
        return value

    def _end(self, value: int, what: str) -> int:
        """An address, or the one just after the machine's last."""
        return value if is_number(value) and value == 1 << self.bits else self.address(value, what)

    def number(self, value: int, what: str, least: int) -> int:
        """A whole number, `least` or more."""
        if not is_number(value) or value < least:
            raise BindError(f"{what} is {value!r}: it must be a whole number, {least} or more")
        return value

    def truth(self, value: bool, what: str) -> bool:
        """True or False, nothing that only counts as such."""
        if not isinstance(value, bool):
            raise BindError(f"{what} is {value!r}: it must be True or False")
        return value

    def text(self, value: str, what: str) -> str:
        """A text."""
        if not isinstance(value, str):
            raise BindError(f"{what} is {value!r}: it must be a text")
        return value

    def _pairs(self, given: Mapping[K, V] | None, what: str) -> Iterable[tuple[K, V]]:
        if given is None:
            return ()
        if not isinstance(given, Mapping):
            raise BindError(f"{what} is {given!r}: it must be a mapping")
        return given.items()


def is_number(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def symbol_names(spec: Spec) -> frozenset[str]:
    """All symbols that some rule of a spec may ask for."""
    names = {name for part in _all_names(spec) for name in part.symbols} | spec.probes
    if spec.interface is not None and spec.interface.functions is not None:
        names.add(spec.interface.functions)
    return frozenset(names)


def protected_names(spec: Spec) -> frozenset[str]:
    """All functions over which some part of a spec allows no site."""
    return frozenset(name for part in _all_names(spec) for name in part.protects)


def _all_names(spec: Spec) -> Iterator[Names]:
    yield from (backend.names for backend in spec.backends.values())
    yield from (family.names for family in spec.families.values())
    if spec.interface is not None:
        yield spec.interface.names
