"""Arms and chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from pvspec.engine.guards import Guard, both, walk
from pvspec.engine.spec import ELSEWHERE
from pvspec.engine.value import Map
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.guards import Scope, guard
from pvspec.lang.check.names import clobber_registers, look_up, unknown
from pvspec.lang.check.numbers import hex_bytes, in_range
from pvspec.lang.diagnostics import Findings

MAX_ARMS = 1024
"""Arms of one chain, those of the chains that it refers to included; more are refused (PV304)."""
_ARM, _LETTER, _QUESTION = 40, 1, 4  # units of work that an arm costs, each letter of it, and each part of its guard


class ArmScope(Scope):
    """What an arm may refer to: what its guard may, and branch targets, chains, ROMs and clobber registers.

    `roms`: the width of each one's argument in bits. `answered`: the backends whose rules another one may adopt.
    """

    bits: int = 32
    targets: frozenset[str] = frozenset()
    clobbers: Mapping[str, int] = Map()
    chains: Mapping[str, model.Chain] = Map()
    roms: Mapping[str, int] = Map()
    answered: Mapping[str, model.Backend] = Map()


def chain(items: Sequence[ast.Arm], scope: ArmScope, findings: Findings) -> model.Chain:
    """The arms, with named chains expanded; at most MAX_ARMS, because chains of chains multiply."""
    arms = (arm for item in items for arm in _arms(item, scope, findings))
    found = tuple(islice(arms, MAX_ARMS))
    for arm in arms:
        findings.add("PV304", f"a chain has more than {MAX_ARMS} arms", (arm.span, "this one exceeds the limit"))
        break
    return found


def _arms(item: ast.Arm, scope: ArmScope, findings: Findings) -> Iterator[model.Arm]:
    findings.work.add(_ARM + _LETTER * item.span.length, "its arms", item.span)
    condition = guard(item.guard, scope, findings)
    if item.clobbers and not isinstance(item.action, ast.Asm | ast.Bytes | ast.Branch):
        findings.add("PV305", "only code can clobber registers", (item.clobbers[0].span, "remove this"))
    if isinstance(item.action, ast.ChainRef):
        yield from _referred(item.action, condition, scope, findings)
        return
    action = _action(item.action, scope, findings)
    if action is None:
        return
    clobbers = clobber_registers(item.clobbers, frozenset(scope.clobbers), scope.bits, findings)
    _check_bits(item, clobbers, scope, findings)
    mask = sum(scope.clobbers.get(register, 0) for register in clobbers)
    yield model.Arm(item.action.span, action, condition, clobbers, mask, scope.symbols)


def _check_bits(item: ast.Arm, clobbers: frozenset[str], scope: ArmScope, findings: Findings) -> None:
    for name in item.clobbers:
        if name.text in clobbers and name.text not in scope.clobbers:
            unknown(name, "clobber register", scope.clobbers, findings)


def _referred(item: ast.ChainRef, condition: Guard | None, scope: ArmScope, findings: Findings) -> Iterator[model.Arm]:
    arms = look_up(scope.chains, item.name, "chain", findings) or ()
    asked = sum(1 for _ in walk(condition))
    for arm in arms:
        findings.work.add(_ARM + _QUESTION * (asked + sum(1 for _ in walk(arm.guard))), "its arms here", item.span)
        yield arm if condition is None else arm.guarded(both(condition, arm.guard))


def _action(item: ast.Action, scope: ArmScope, findings: Findings) -> model.Action | None:
    match item:
        case ast.Asm():
            return model.Assembly(item.source)
        case ast.Bytes():
            return model.RawBytes(item.source, hex_bytes(item.source, findings), partial=scope.site)
        case ast.Branch():
            return _branch(item, scope, findings)
        case ast.Aim():
            return _aim(item, scope, findings)
        case ast.Store():
            return _store(item, scope, findings)
        case ast.Nop():
            return model.Nop()
        case ast.Keep():
            return model.Keep()
        case ast.Bug():
            return model.Bug(item.message.value)
        case ast.Copy():
            return _copy(item, scope, findings)
        case ast.Query():
            return _query(item, scope, findings)
    return None


def _branch(item: ast.Branch, scope: ArmScope, findings: Findings) -> model.Action:
    name = item.target.text
    if name not in scope.targets and name not in scope.symbols and not (scope.site and name == ELSEWHERE):
        known = [*scope.targets, *scope.symbols, *([ELSEWHERE] if scope.site else [])]
        unknown(item.target, f"{item.mnemonic} target", known, findings)
    return model.Branch(item.mnemonic, item.target.text, item.addend, item.prefixed, item.short, item.target.span)


def _aim(item: ast.Aim, scope: ArmScope, findings: Findings) -> model.Action:
    if not scope.site:
        findings.add("PV305", "nothing to aim here", (item.span, "only a family has a `site` that holds a branch"))
    elif item.target.text not in (known := {*scope.values, *scope.symbols}):
        unknown(item.target, "target", known, findings)
    return model.Aim(item.target.text)


def _store(item: ast.Store, scope: ArmScope, findings: Findings) -> model.Action | None:
    read = look_up(scope.reads, item.name, "read", findings)
    if read is not None and not read.size:
        findings.add("PV305", "an address cannot be stored", (item.name.span, "a `branch` has no width"))
    return None if read is None else model.Store(item.name.text, read.size)


def _copy(item: ast.Copy, scope: ArmScope, findings: Findings) -> model.Action:
    if not scope.fields:
        findings.add("PV305", "nothing to copy here", (item.span, "only a family's record has fields to copy from"))
    elif item.address.text not in scope.fields and item.address.text not in scope.symbols:
        unknown(item.address, "field", scope.fields, findings)
    size: str | int = item.size.value if isinstance(item.size, ast.Number) else item.size.text
    if scope.fields and isinstance(item.size, ast.Name) and item.size.text not in scope.fields:
        unknown(item.size, "field", scope.fields, findings)
    return model.Copy(item.address.text, size, item.relocated, item.throughout)


def _query(item: ast.Query, scope: ArmScope, findings: Findings) -> model.Action | None:
    bits = look_up(scope.roms, item.rom, "rom", findings)
    if bits is None:
        return None
    return model.Query(item.rom.text, in_range(item.argument, 0, (1 << bits) - 1, "argument", findings))
