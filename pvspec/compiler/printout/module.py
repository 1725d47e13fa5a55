"""The printed module: the engine's text, then the spec as a value, then its functions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from pvspec import __version__
from pvspec.compiler.assemble import Program
from pvspec.compiler.lower import Lowered, lower
from pvspec.compiler.printout.carried import carried
from pvspec.compiler.printout.literals import Name, assignment
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.source import Span
from pvspec.support.escaping import escaped
from pvspec.support.templates import fill
from pvspec.x86.code import Code

WIDTH = 120


def render(program: Program) -> str:
    """The module's text; the same program gives the same bytes."""
    spec, lowered = program.spec, lower(program)
    names = _arm_names(lowered)
    enumerations = map(_enumeration, _enumerations(spec.interface) if spec.interface else ())
    constants = "\n\n".join((*_arms(program, lowered, names), *_constants(lowered, names)))
    return fill(
        "module.py.jinja",
        version=__version__,
        title=_title(spec),
        origin=_origin(spec),
        digest=_digest(spec),
        imports="\n".join(carried().imports),
        engine="\n\n".join(f"\n# ==== {name} {'=' * (112 - len(name))}\n\n\n{text}" for name, text in carried().parts),
        spec="".join(f"\n\n{text}" for text in enumerations) + "\n" * (spec.interface is not None) + f"\n{constants}",
        functions="".join(_functions(spec)).rstrip("\n"),
    )


def _functions(spec: model.Spec) -> Iterator[str]:
    """The functions that a module has only for its own spec."""
    if spec.interface is not None and spec.interface.layout is not None:
        yield _BUILD_SITES
    for backend in spec.backends:
        yield _PATCH.format(backend=backend)
    if spec.backends:
        yield "\n\n_unbound = cache(bind)\n"


_BUILD_SITES = '''

def build_sites(sites: Iterable[PatchSite], address: int = 0) -> bytes:
    """The interface's table of these records, to be at this address."""
    return build_records(SITES, (site._asdict() for site in sites), address)
'''
_PATCH = '''

def {backend}_patch(type: int, clobber: int, insnbuf: Buffer, addr: int, len: int) -> int:
    """Write the {backend} code for one site into insnbuf; return the bytes used (len: the original stays).

    With nothing bound, so only for rules that need no target, symbol or rom; `bind` gives a kernel of your own.
    """
    return _unbound("{backend}").patch(type, clobber, insnbuf, addr, len)
'''


def _safe(text: str) -> str:
    """The name of a spec or file outside literals: in the docstring and comments."""
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


def _arm_names(lowered: Lowered) -> dict[int, Name]:
    """A constant for each arm, named after its line in the spec; keyed by the identity of the engine's arm."""
    names: dict[int, Name] = {}
    taken: dict[str, int] = {}
    for arm, value in lowered.arms.items():
        names[id(value)] = _arm_name(arm.span, taken)
    return names


def _arm_name(span: Span, taken: dict[str, int]) -> Name:
    """A name that is not taken; `taken`: each name, and how many were made of it."""
    stem = re.sub(r"\W", "_", span.source.label.rpartition("/")[2].partition(".")[0], flags=re.ASCII)
    base = name = f"_{stem.upper()}_{span.line}"
    number = taken.get(base, 0)
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken[base] = number or 1
    taken.setdefault(name, 1)
    return Name(name)


def _arms(program: Program, lowered: Lowered, names: dict[int, Name]) -> Iterator[str]:
    """All arms, in the order of the spec."""
    for arm, value in lowered.arms.items():
        code = program.code.get(arm)
        comment = [_cut(f"{_safe(arm.span.where)}  {escaped(arm.span.source.line(arm.span.line, most=WIDTH)).strip()}")]
        comment += [_cut(line) for line in _listing(code)] if code else []
        yield "\n".join((*(f"# {line}" for line in comment), assignment(names[id(value)], value)))


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH - 4 else line[: WIDTH - 5] + "…"


def _listing(code: Code) -> Iterator[str]:
    for instruction in code.instructions:
        data = code.data[instruction.offset : instruction.offset + instruction.size]
        yield f"  {data.hex(' '):<24}  {escaped(instruction.text)}".rstrip()


# ---- everything else -------------------------------------------------------


class Enumeration(Value):
    """Op numbers in one configuration: `name` of the class, `settings` as a comment, members sorted by number."""

    name: str
    settings: str
    members: tuple[tuple[str, int], ...]


def _enumeration(found: Enumeration) -> str:
    with_settings = f" with {found.settings}" if found.settings else ""
    members = "\n".join(f"    {member} = {number}" for member, number in found.members) or "    ..."
    return f'class {found.name}(IntEnum):\n    """Op numbers{with_settings}."""\n\n{members}\n'


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


def _constants(lowered: Lowered, names: dict[int, Name]) -> Iterator[str]:
    """The spec's own parts, each a constant that later ones refer to."""
    spec = lowered.spec
    parts: list[tuple[str, Value | None]] = [("ARCHITECTURE", spec.machine)]
    if spec.interface is not None:
        parts += [("SITES", spec.interface.layout), ("INTERFACE", spec.interface)]
    parts += [(f"_BACKEND_{backend.name}", backend) for backend in spec.backends.values()]
    parts += [(f"_FAMILY_{family.name}", family) for family in spec.families.values()]
    known = dict(names)
    for name, part in [*parts, ("SPEC", spec)]:
        if part is not None:
            yield assignment(name, part, known)
            known[id(part)] = Name(name)
