"""What can go wrong."""

from __future__ import annotations


class PvspecError(Exception):
    """What every error of pvspec is."""


class PatchError(PvspecError):
    """A site, table or fact with which nothing was patched."""


class PatchBug(PatchError):
    """A `bug` arm was reached: where the kernel has a BUG_ON."""


class StateError(PatchError):
    """Memory is asked for whose contents are not known."""


class BindError(PatchError):
    """A fact that the spec does not know or that cannot be; or a rule asks for one that was not bound."""
