"""For which kernel a spec is read: one of those that it describes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pvspec.engine.errors import PvspecError
from pvspec.engine.value import Value
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, Findings, Label, TooMuchWork, count, suggestion

MAX_TARGETS = 32
"""Kernels that one spec may describe, a version on two machines counted twice; more are refused (PV003)."""
_NEWEST = 1 << 30
_VERSION = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}")


class TargetError(PvspecError):
    """A spec describes several kernels and none of them is chosen, or it does not describe the one that is.

    `targets`: those that it describes.
    """

    def __init__(self, message: str, targets: Sequence[Target] = ()) -> None:
        super().__init__(message)
        self.targets = tuple(targets)

    def __reduce__(self) -> tuple[type[TargetError], tuple[str, tuple[Target, ...]]]:
        return type(self), (str(self), self.targets)


class Target(Value):
    """A kernel's version, two numbers or three, and its machine; None where a spec leaves no choice."""

    version: tuple[int, ...] | None = None
    machine: str | None = None

    def __str__(self) -> str:
        return listed([self])

    def is_since(self, version: tuple[int, ...]) -> bool:
        """Whether the kernel's version is this one or a later one; a series is its newest point release."""
        return point_release(self.version or ()) >= version


ANY = Target()


class Wanted(Value):
    """What is said of the kernel that a spec is wanted for.

    `version`: of a series, two numbers, or of a point release, three; None, like a `machine` that is None, where it is
    not said. `exactly`: a spec that describes no versions is not meant. Otherwise it is, and if it describes one
    machine, whatever that is called.
    """

    version: tuple[int, ...] | None = None
    machine: str | None = None
    exactly: bool = True

    def among(self, targets: Sequence[Target]) -> tuple[Target, ...]:
        """Those of a spec's kernels that may be meant, with the point release that is."""
        if not self.exactly and [target.version for target in targets] == [None]:
            return tuple(targets)
        return tuple(found for target in targets if (found := self._as_wanted(target)) is not None)

    def _as_wanted(self, target: Target) -> Target | None:
        if self.machine not in (None, target.machine):
            return None
        if self.version is None or (target.version is None and not self.exactly):
            return target
        series = target.version
        is_meant = series is not None and self.version[: len(series)] == series
        return Target(self.version, target.machine) if is_meant else None

    def chosen(self, targets: Sequence[Target], spec: str) -> tuple[Target, ...]:
        """Those that may be meant; TargetError if none is. `spec`: what the message calls it."""
        found = self.among(targets)
        if not found:
            described = listed(targets) if any(target.version for target in targets) else "no versions of kernels"
            if self.version is None:
                described = ", ".join(sorted({str(target.machine) for target in targets}))
            asked = listed([Target(self.version, self.machine)])
            raise TargetError(f"{spec} describes {described}, not {asked}", targets)
        return found

    def the_one(self, targets: Sequence[Target], spec: str) -> Target:
        """The one that is meant; TargetError if none is, or several may be."""
        found = self.chosen(targets, spec)
        if len(found) > 1:
            raise several(found, spec)
        return found[0]


def several(targets: Sequence[Target], spec: str) -> TargetError:
    """The error of a spec that several kernels are left of, where one is needed."""
    if len({target.version for target in targets}) == 1:
        how = "the machine with --machine"
    elif len({target.machine for target in targets}) == 1:
        how = "one with --kernel"
    else:
        how = "one with --kernel and --machine"
    return TargetError(f"{spec} describes several kernels: {listed(targets)}; name {how}", targets)


def wanted(kernel: str | None, machine: str | None) -> Wanted:
    """What a user says of a kernel: its version, as in "6.1" or "5.10.223", and its machine; TargetError."""
    if kernel is None:
        return Wanted(None, machine)
    if not isinstance(kernel, str) or not _VERSION.fullmatch(kernel):
        raise TargetError(f"{kernel!r} is no version of a kernel, such as 6.1 or 5.10.223")
    return Wanted(tuple(map(int, kernel.split("."))), machine)


def listed(targets: Iterable[Target]) -> str:
    """Kernels as a message names them: `Linux 5.10, 6.1 on x86_64; Linux 5.10 on i386`."""
    versions = dict[str | None, list[str]]()
    for target in targets:
        versions.setdefault(target.machine, []).append(version_text(target.version))
    return "; ".join(_on_machine(machine, numbers) for machine, numbers in versions.items())


def _on_machine(machine: str | None, versions: list[str]) -> str:
    known = ", ".join(filter(None, versions))
    if not known:
        return machine or "any kernel"
    return f"Linux {known} on {machine}" if machine else f"Linux {known}"


def point_releases(target: Target, asked: Iterable[tuple[int, ...]]) -> list[Target]:
    """The first point release of a series, and those of it that are asked for: all that a spec may tell apart."""
    series = target.version or ()
    own = {version for version in asked if len(version) > len(series) and version[: len(series)] == series}
    return [target.changed(version=version) for version in sorted({(*series, 0), *own})] if own else []


def version_text(version: Iterable[int] | None) -> str:
    """A version as people write it; empty if it is None."""
    return ".".join(map(str, version or ()))


def point_release(version: tuple[int, ...]) -> tuple[int, ...]:
    """A version of three numbers; a series is its newest point release."""
    return version if len(version) == 3 else (*version, _NEWEST)


# ---- what a spec declares ----------------------------------------------------------------------------------


def declared_targets(
    kernels: Sequence[ast.Kernels], machines: Sequence[ast.Name], findings: Findings
) -> tuple[Target, ...]:
    """The kernels that a spec describes, in its order; without a machine ANY, which `check` does not accept.

    `kernels`: its lines of versions. Without them the machines alone are told apart. `machines`: their names, each as
    often as it is declared. TooMuchWork if they are more than MAX_TARGETS.
    """
    names = list(dict.fromkeys(name.text for name in machines))
    if not names:
        return (ANY,)
    if len(names) > MAX_TARGETS:
        label = Label(machines[-1].span, f"these are {count(len(names), 'machine')}")
        raise TooMuchWork([Diagnostic("PV003", f"more than {MAX_TARGETS} machines in one spec", (label,))])
    if not kernels:
        return tuple(Target(None, name) for name in names)
    found, made = dict[Target, ast.Version](), 0
    for line in kernels:
        for name in line.machines:
            check_machine(name, names, findings)
        meant = {name.text for name in line.machines} or names
        for machine in [name for name in names if name in meant]:
            made += len(line.versions)
            for version in line.versions[: MAX_TARGETS + 1 - len(found)]:
                _declare(found, Target(version.numbers, machine), version, findings)
    if len(found) > MAX_TARGETS:
        message = f"more than {MAX_TARGETS} kernels in one spec"
        findings.add("PV003", message, (kernels[-1].span, f"these make {count(made, 'kernel')}"))
    return tuple(found)[:MAX_TARGETS]


def _declare(found: dict[Target, ast.Version], target: Target, version: ast.Version, findings: Findings) -> None:
    mine = version.numbers
    for other, place in found.items():
        theirs = other.version or ()
        length = min(len(mine), len(theirs))
        if other.machine == target.machine and mine[:length] == theirs[:length]:
            findings.add("PV102", f"{target} is declared twice", (version.span, "again"), (place.span, "first here"))
            return
    found[target] = version


def check_machine(name: ast.Name, machines: Sequence[str], findings: Findings) -> None:
    """PV101 for a machine that no block declares."""
    if name.text not in machines:
        known = f"declared: {', '.join(machines)}"
        help = suggestion(name.text, machines)
        findings.add("PV101", f"unknown machine `{name.text}`", (name.span, known), help=help)


def check_version(version: ast.Version, targets: Sequence[Target], findings: Findings) -> None:
    """PV105 for a version that all of the spec's kernels are since, or none is."""
    versions = sorted({target.version for target in targets if target.version is not None})
    place = (version.span, "decides nothing")
    if not versions:
        help = "say which kernels it describes: `kernels 5.10, 6.1 on x86_64`"
        findings.add("PV104", "a version is asked for, and no `kernels` are declared", place, help=help)
        return
    oldest, newest = versions[0], point_release(versions[-1])
    if not oldest < version.numbers <= newest:
        which = "each is this one or a later one" if version.numbers <= oldest else "each is an earlier one"
        known = ", ".join(map(version_text, versions))
        text = version_text(version.numbers)
        findings.add("PV105", f"{text} parts none of this spec's kernels: {which}", place, notes=[f"kernels {known}"])
