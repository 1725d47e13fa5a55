"""Arms and chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from pvspec.engine.guards import Guard, both
from pvspec.engine.spec import ELSEWHERE
from pvspec.engine.value import Map
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import Scope, guard
from pvspec.lang.check.names import clobber_registers, look_up, unknown
from pvspec.lang.check.numbers import hex_bytes, in_range
from pvspec.lang.diagnostics import Findings

MAX_ARMS = 1024


class Place(Scope):
    """What an arm may speak of: besides a guard's words, branch targets, chains, roms and clobber registers.

    `roms`: the bits of each one's argument. `answered` are the backends that another one may leave its ops to.
    """

    bits: int = 32
    targets: frozenset[str] = frozenset()
    clobbers: Mapping[str, int] = Map()
    chains: Mapping[str, model.Chain] = Map()
    roms: Mapping[str, int] = Map()
    answered: Mapping[str, model.Backend] = Map()


def chain(items: Sequence[ast.Arm], place: Place, findings: Findings) -> model.Chain:
    """The arms, those of named chains in place of their names: MAX_ARMS at most, for chains of chains multiply."""
    arms = (arm for item in items for arm in _arms(item, place, findings))
    found = tuple(islice(arms, MAX_ARMS))
    for arm in arms:
        findings.add("PV304", f"a chain has more than {MAX_ARMS} arms", (arm.span, "this one is too many"))
        break
    return found


def _arms(item: ast.Arm, place: Place, findings: Findings) -> Iterator[model.Arm]:
    condition = guard(item.guard, place, findings)
    if item.clobbers and not isinstance(item.action, ast.Asm | ast.Bytes | ast.Branch):
        findings.add("PV305", "only code can clobber registers", (item.clobbers[0].span, "remove this"))
    if isinstance(item.action, ast.ChainRef):
        yield from _referred(item.action, condition, place, findings)
        return
    action = _action(item.action, place, findings)
    if action is None:
        return
    clobbers = clobber_registers(item.clobbers, frozenset(place.clobbers), place.bits, findings)
    _check_bits(item, clobbers, place, findings)
    mask = sum(place.clobbers.get(register, 0) for register in clobbers)
    yield model.Arm(item.action.span, action, condition, clobbers, mask, place.symbols)


def _check_bits(item: ast.Arm, clobbers: frozenset[str], place: Place, findings: Findings) -> None:
    for name in item.clobbers:
        if name.text in clobbers and name.text not in place.clobbers:
            unknown(name, "clobber register", place.clobbers, findings)


def _referred(item: ast.ChainRef, condition: Guard | None, place: Place, findings: Findings) -> Iterator[model.Arm]:
    arms = look_up(place.chains, item.name, "chain", findings) or ()
    for arm in arms:
        yield arm if condition is None else arm.guarded(both(condition, arm.guard))


def _action(item: ast.Action, place: Place, findings: Findings) -> model.Action | None:
    match item:
        case ast.Asm():
            return model.Assembly(item.source)
        case ast.Bytes():
            return model.RawBytes(item.source, hex_bytes(item.source, findings), partial=place.site)
        case ast.Branch():
            return _branch(item, place, findings)
        case ast.Store():
            return _store(item, place, findings)
        case ast.Nop():
            return model.Nop()
        case ast.Keep():
            return model.Keep()
        case ast.Bug():
            return model.Bug(item.message.value)
        case ast.Copy():
            return _copy(item, place, findings)
        case ast.Query():
            return _query(item, place, findings)
    return None


def _branch(item: ast.Branch, place: Place, findings: Findings) -> model.Action:
    known = {*place.targets, *place.symbols, *([ELSEWHERE] if place.site else [])}
    if item.target.text not in known:
        unknown(item.target, f"{item.mnemonic} target", known, findings)
    return model.Branch(item.mnemonic, item.target.text, item.addend, item.prefixed, item.short, item.target.span)


def _store(item: ast.Store, place: Place, findings: Findings) -> model.Action | None:
    read = look_up(place.reads, item.name, "read", findings)
    if read is not None and not read.size:
        findings.add("PV305", "an address cannot be stored", (item.name.span, "a `branch` has no width"))
    return None if read is None else model.Store(item.name.text, read.size)


def _copy(item: ast.Copy, place: Place, findings: Findings) -> model.Action:
    if not place.fields:
        findings.add(
            "PV305", "there is nothing to copy here", (item.span, "only a family's record has fields to copy from")
        )
    elif item.address.text not in place.fields and item.address.text not in place.symbols:
        unknown(item.address, "field", place.fields, findings)
    size: str | int = item.size.value if isinstance(item.size, ast.Number) else item.size.text
    if place.fields and isinstance(item.size, ast.Name) and item.size.text not in place.fields:
        unknown(item.size, "field", place.fields, findings)
    return model.Copy(item.address.text, size, item.relocated, item.throughout)


def _query(item: ast.Query, place: Place, findings: Findings) -> model.Action | None:
    bits = look_up(place.roms, item.rom, "rom", findings)
    if bits is None:
        return None
    return model.Query(item.rom.text, in_range(item.argument, 0, (1 << bits) - 1, "argument", findings))
