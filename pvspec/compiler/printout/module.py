"""The generated module: the carried runtime, then the spec as data, then its functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from pvspec import __version__
from pvspec.compiler.assemble import Program
from pvspec.compiler.printout.carried import carried
from pvspec.compiler.printout.literals import Call, Keyword, Name, assignment
from pvspec.engine.spec import Field, Layout, Value
from pvspec.lang import model
from pvspec.lang.diagnostics import printable
from pvspec.lang.source import Span
from pvspec.support.templates import fill
from pvspec.x86.code import Code, Hole

WIDTH = 120


def render(program: Program) -> str:
    """The module's text; the same program gives the same text to the byte."""
    spec = program.spec
    arms = _Arms(program)
    return fill(
        "module.py.jinja",
        version=__version__,
        title=_title(spec),
        origin=_origin(spec),
        digest=_digest(spec),
        imports=carried().imports,
        parts=carried().parts,
        arms=list(arms.constants()),
        enumerations=list(_enumerations(spec.interface)) if spec.interface else [],
        constants=list(_constants(spec, arms)),
        backends=list(spec.backends),
        has_sites=spec.interface is not None and spec.interface.layout is not None,
    )


def _safe(text: str) -> str:
    """A spec's or file's name where the output is no literal: in the docstring and comments."""
    return re.sub(r"[^\w .,:/+()-]", "_", text, flags=re.ASCII)


def _title(spec: model.Spec) -> str:
    if spec.interface is None:
        return f"Patch tables on {spec.machine.name}"
    backends = ", ".join(spec.backends) or "no backend"
    return _safe(f"Patch functions for {spec.interface.name} on {spec.machine.name}: {backends}")


def _origin(spec: model.Spec) -> str:
    return _safe(", ".join(source.label for source in spec.sources))


def _digest(spec: model.Spec) -> str:
    digest = hashlib.sha256()
    for source in spec.sources:
        digest.update(f"{source.label}\0{source.text}\0".encode())
    return digest.hexdigest()


# ---- arms ------------------------------------------------------------------


class Constant(Value):
    """One assignment and the comment above it."""

    comment: tuple[str, ...]
    text: str


class _Arms:
    """A constant for each arm, named after the spec line that it stands in."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names: dict[model.Arm, str] = {}
        taken: set[str] = set()
        for arm in program.spec.arms():
            name = self._name(arm.span, taken)
            taken.add(name)
            self.names[arm] = name

    def _name(self, span: Span, taken: set[str]) -> str:
        stem = re.sub(r"\W", "_", span.source.label.rpartition("/")[2].partition(".")[0], flags=re.ASCII)
        base, number = f"_{stem.upper()}_{span.line}", 1
        while (name := base if number == 1 else f"{base}_{number}") in taken:
            number += 1
        return name

    def chain(self, chain: model.Chain) -> tuple[Name, ...]:
        """The chain, by its arms' names."""
        return tuple(Name(self.names[arm]) for arm in chain)

    def constants(self) -> Iterator[Constant]:
        """All arms, in the order of the spec."""
        for arm, name in self.names.items():
            code = self.program.code.get(arm)
            comment = [_cut(f"{_safe(arm.span.where)}  {printable(arm.span.source.line(arm.span.line)).strip()}")]
            comment += [_cut(line) for line in _listing(code)] if code else []
            yield Constant(tuple(comment), assignment(name, _arm(arm, code)))


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH - 4 else line[: WIDTH - 5] + "…"


def _listing(code: Code) -> Iterator[str]:
    for instruction in code.instructions:
        data = code.data[instruction.offset : instruction.offset + instruction.size]
        yield f"  {data.hex(' '):<24}  {printable(instruction.text)}".rstrip()


def _arm(arm: model.Arm, code: Code | None) -> Call:
    where = [arm.span.where, *([arm.guard] if arm.guard is not None else [])]
    match arm.action:
        case model.Keep():
            return Call("Keep", where)
        case model.Bug():
            return Call("Bug", [*where, Keyword("message", arm.action.message)])
        case model.Query():
            return Call("Query", [*where, Keyword("rom", arm.action.rom), Keyword("argument", arm.action.argument)])
        case model.Store():
            return Call("Store", [*where, Keyword("name", arm.action.name), Keyword("size", arm.action.size)])
        case model.Copy():
            words = ("relocated", "throughout")
            relocated = [Keyword(word, True) for word in words if getattr(arm.action, word)]
            fields = [Keyword("address", arm.action.address), Keyword("size", arm.action.size)]
            return Call("Copy", [*where, *fields, *relocated])
    assert code is not None
    return Call("Code", [*where, *_code(arm, code)])


def _code(arm: model.Arm, code: Code) -> Iterator[Keyword]:
    if code.data:
        yield Keyword("data", code.data)
    if code.holes:
        yield Keyword("holes", tuple(_hole(hole) for hole in code.holes))
    if arm.mask:
        yield Keyword("clobbers", arm.mask)


def _hole(hole: Hole) -> Call:
    relative = [Keyword("relative", True), Keyword("end", hole.end)] if hole.relative else []
    addend = [Keyword("addend", hole.addend)] if hole.addend else []
    signed = [Keyword("signed", True)] if hole.signed else []
    return Call("Hole", [hole.offset, hole.size, hole.symbol, *addend, *relative, *signed])


# ---- everything else -------------------------------------------------------


class Enumeration(Value):
    """Op numbers in one configuration: `name` of the class, `settings` for people, members sorted by number."""

    name: str
    settings: str
    members: tuple[tuple[str, int], ...]


def _enumerations(interface: model.Interface) -> Iterator[Enumeration]:
    defaults = list(interface.names.options.values())
    for configuration in interface.configurations():
        options = dict(zip(interface.names.options, configuration, strict=True))
        changed = [name for (name, value), default in zip(options.items(), defaults, strict=True) if value != default]
        members = {op.name.upper(): op.numbers[configuration] for op in _ops(interface, configuration)}
        settings = ", ".join(name if options[name] else f"not {name}" for name in changed)
        yield Enumeration(
            "Op" + "".join(part.title().replace("_", "") for part in changed),
            settings,
            tuple(sorted(members.items(), key=lambda member: member[1])),
        )


def _ops(interface: model.Interface, configuration: model.Configuration) -> list[model.Op]:
    return [op for op in interface.ops.values() if configuration in op.numbers]


def _constants(spec: model.Spec, arms: _Arms) -> Iterator[str]:
    yield assignment("MACHINE", _machine(spec.machine))
    if spec.interface is not None and spec.interface.layout is not None:
        yield assignment("SITES", _layout(spec.interface.layout))
    if spec.interface is not None:
        yield assignment("INTERFACE", _interface(spec.interface))
    for backend in spec.backends.values():
        yield assignment(f"_BACKEND_{backend.name}", _backend(backend, arms))
    for family in spec.families.values():
        yield assignment(f"_FAMILY_{family.name}", _family(family, arms))
    yield assignment("SPEC", _spec(spec))


def _spec(spec: model.Spec) -> Call:
    return Call(
        "Spec",
        [
            Name("MACHINE"),
            Name("INTERFACE") if spec.interface else None,
            {name: Name(f"_BACKEND_{name}") for name in spec.backends},
            {name: Name(f"_FAMILY_{name}") for name in spec.families},
            spec.passes,
            *([Keyword("policy", tuple(_decision(decision) for decision in spec.policy))] if spec.policy else []),
            *_given(spec, "probes"),
        ],
    )


def _decision(decision: model.Decision) -> Call:
    return Call("Decision", [decision.sets, decision.features, *_given(decision, "guard listed numbers")])


def _machine(machine: model.Machine) -> Call:
    return Call(
        "Machine",
        [
            machine.name,
            machine.bits,
            machine.features,
            machine.always,
            machine.nops,
            machine.choices,
            *([Keyword("shown", machine.shown)] if machine.shown else []),
            *([Keyword("jumps", machine.jumps)] if machine.jumps else []),
        ],
    )


def _layout(layout: Layout) -> Call:
    fields = tuple(_field(field) for field in layout.fields)
    return Call("Layout", [layout.section, layout.size, fields, *_given(layout, "slack padded bounds patterns")])


def _field(field: Field) -> Call:
    shift = [field.relative, field.shift] if field.shift else [True] if field.relative else []
    return Call("Field", [field.name, field.at, field.bits, *shift])


def _given(value: Value, names: str) -> Iterator[Keyword]:
    """Those of its fields that are not as they are by default, that is empty or false."""
    for name in names.split():
        if getattr(value, name):
            yield Keyword(name, getattr(value, name))


def _names(names: model.Names) -> Iterator[Keyword]:
    given = [
        Keyword("options", names.options) if names.options else None,
        Keyword("symbols", frozenset(names.symbols)) if names.symbols else None,
        Keyword("protects", frozenset(names.protects)) if names.protects else None,
    ]
    arguments = [argument for argument in given if argument is not None]
    if arguments:
        yield Keyword("names", Call("Names", arguments))


def _interface(interface: model.Interface) -> Call:
    numbers = {}
    for configuration in interface.configurations():
        ops = sorted(_ops(interface, configuration), key=lambda op: op.numbers[configuration])
        numbers[configuration] = {op.numbers[configuration]: op.name for op in ops}
    slots = tuple(Call("Slot", [*slot[:2], *([True] if slot.relative else [])]) for slot in interface.slots)
    noreturn = frozenset(op.name for op in interface.ops.values() if op.noreturn)
    return Call(
        "Interface",
        [
            interface.name,
            Name("SITES") if interface.layout else None,
            interface.max_len,
            interface.clobbers,
            numbers,
            *([Keyword("noreturn", noreturn)] if noreturn else []),
            *_names(interface.names),
            *([Keyword("slots", slots)] if slots else []),
            *_given(interface, "functions"),
        ],
    )


def _backend(backend: model.Backend, arms: _Arms) -> Call:
    chains = {op.name: arms.chain(rule.chain) for rule in backend.rules for op in rule.ops}
    otherwise = arms.chain(backend.otherwise.chain) if backend.otherwise else ()
    roms = {name: _rom(rom, arms) for name, rom in backend.roms.items()}
    targets = tuple(_target(target) for target in backend.targets)
    return Call(
        "Backend",
        [
            backend.name,
            chains,
            otherwise,
            *_names(backend.names),
            *([Keyword("roms", roms)] if roms else []),
            *([Keyword("targets", targets)] if targets else []),
        ],
    )


def _target(target: model.Target) -> Call:
    return Call("Target", [target.ops, target.symbol, *_given(target, "table guard")])


def _rom(rom: model.Rom, arms: _Arms) -> Call:
    answers = {number: arms.chain(answer.chain) for number, answer in rom.answers.items()}
    return Call("Rom", [_layout(rom.layout), answers, arms.chain(rom.otherwise)])


def _family(family: model.Family, arms: _Arms) -> Call:
    length = [Keyword("length", family.length)] if family.length is not None else []
    place = [Keyword("place", family.place)] if family.place != ("site", 0) else []
    reads = {name: Call("Read", list(read)) for name, read in family.reads.items()}
    return Call(
        "Family",
        [
            family.name,
            _layout(family.layout),
            arms.chain(family.rule),
            *length,
            *place,
            *_given(family, "decoded stacked longest relaid throughout"),
            *([Keyword("reads", reads)] if reads else []),
            *_names(family.names),
        ],
    )
