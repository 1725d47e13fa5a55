"""For which kernel a spec is read: one of those that it describes."""

from __future__ import annotations

from pvspec.engine.value import Value


class Target(Value):
    """A kernel's version, two numbers or three, and its machine; None where a spec leaves no choice."""

    version: tuple[int, ...] | None = None
    machine: str | None = None

    def is_since(self, version: tuple[int, ...]) -> bool:
        """Whether the kernel's version is this one or a later one; a series is its newest point release."""
        mine = self.version or ()
        return (*mine, _NEWEST)[:3] >= version if len(mine) < 3 else mine >= version


ANY = Target()
_NEWEST = 1 << 30
