"""Named chains: which ones are used, and what their arms mean where they are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.rules import ArmScope, chain
from pvspec.lang.diagnostics import Findings

MAX_CHAIN_DEPTH = 16
"""Chains that refer to each other in a row; deeper ones are refused (PV304)."""


def reached(arms: Iterable[ast.Arm], declared: Mapping[str, ast.Chain]) -> dict[str, ast.Chain]:
    """The chains that these arms use, directly or through other chains, in the order of the spec."""
    found: set[str] = set()
    new = set(_referred(arms))
    while new:
        found |= new
        new = {used for name in new if name in declared for used in _referred(declared[name].arms)} - found
    return {name: item for name, item in declared.items() if name in found}


def arms_of(item: ast.Backend) -> Iterator[ast.Arm]:
    """All arms of a backend."""
    for rule in item.rules:
        yield from rule.arms
    for otherwise in (*item.otherwise, *(rom.otherwise for rom in item.roms)):
        yield from otherwise.arms
    for answer in (answer for rom in item.roms for answer in rom.answers):
        yield from answer.arms


def chains(declared: Mapping[str, ast.Chain], scope: ArmScope, findings: Findings) -> dict[str, model.Chain]:
    """What the chains mean in one scope; a chain may refer to chains declared anywhere, but not to itself."""
    done: dict[str, model.Chain] = {}
    for name in declared:
        _resolve(name, declared, (), done, scope, findings)
    return {name: done[name] for name in declared}


def _referred(arms: Iterable[ast.Arm]) -> Iterator[str]:
    return (arm.action.name.text for arm in arms if isinstance(arm.action, ast.ChainRef))


def _resolve(
    name: str,
    declared: Mapping[str, ast.Chain],
    path: tuple[str, ...],
    done: dict[str, model.Chain],
    scope: ArmScope,
    findings: Findings,
) -> None:
    if name in done:
        return
    for arm in declared[name].arms:
        if not isinstance(arm.action, ast.ChainRef) or arm.action.name.text not in declared:
            continue
        used = arm.action.name.text
        if used in (*path, name) or len(path) >= MAX_CHAIN_DEPTH:
            message = "a chain refers to itself" if used in (*path, name) else "chains refer to other chains too deeply"
            findings.add("PV304", message, (arm.action.span, " -> ".join([*path, name, used])))
            done.setdefault(used, ())
        _resolve(used, declared, (*path, name), done, scope, findings)
    done.setdefault(name, chain(declared[name].arms, scope.changed(chains=_SoFar(declared, done)), findings))


class _SoFar(Mapping[str, model.Chain]):
    """Every declared chain; those without arms yet are empty, so that a cycle is one finding, not many."""

    def __init__(self, declared: Mapping[str, ast.Chain], done: Mapping[str, model.Chain]) -> None:
        self.declared = declared
        self.done = done

    def __getitem__(self, name: str) -> model.Chain:
        return self.done.get(name, ()) if name in self.declared else self.done[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.declared)

    def __len__(self) -> int:
        return len(self.declared)
