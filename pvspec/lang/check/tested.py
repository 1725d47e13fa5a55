"""What a test case is about, and what follows from that alone: shared by the checks and the test runner."""

from __future__ import annotations

from collections.abc import Mapping

from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang import syntax as ast

MAX_SITE = 0xFFFF
"""Bytes of a site, in a spec and its tests; a longer one is refused."""
_ALIGNMENT = 16  # bytes
_TABLE = 0x4000  # bytes from the record's table to the first address that a case names


class Tested(Value):
    """One case in the test of a backend or a family."""

    name: str
    case: ast.Case
    spec: model.Spec

    @property
    def backend(self) -> model.Backend | None:
        """The backend under test."""
        return self.spec.backends.get(self.name)

    @property
    def family(self) -> model.Family | None:
        """The family under test."""
        return self.spec.families.get(self.name)

    @property
    def interface(self) -> model.Interface | None:
        """The interface whose sites are tested: the backend's, or the one that a family's sites call through."""
        interface = self.spec.interface
        return interface if self.backend is not None or (interface and interface.functions) else None

    @property
    def names(self) -> list[model.Names]:
        """The names that a case may bind: those of every part of the spec that it involves."""
        chosen = (item.name.text for item in self.case.settings if item.kind == "backend" and item.name)
        others = (self.spec.backends.get(name) for name in chosen)
        parts = (self.interface, self.backend, *others, self.family)
        return [part.names for part in parts if part is not None]

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that a case may bind, and that its expected code may name."""
        spec = self.spec
        # a named chain may refer to what another family declares
        all_names = (*self.names, *(family.names for family in spec.families.values()))
        functions = spec.interface.functions if spec.interface is not None else None
        return spec.probes.union(*(names.symbols for names in all_names), [functions] if functions else [])

    @property
    def length(self) -> int | None:
        """The site's length in bytes; None if it is not given."""
        if self.family is not None and self.family.length is not None:
            return self.family.length
        for number in self.case.lengths:
            return number.value
        for original in self.case.originals:
            return len(bytes.fromhex(original.value))
        return None

    def numbers(self, options: Mapping[str, bool]) -> dict[str, int]:
        """Op numbers by name, with these options."""
        if self.interface is None:
            return {}
        configuration = tuple(options[name] for name in self.interface.names.options)
        ops = self.interface.ops.values()
        return {op.name: op.numbers[configuration] for op in ops if configuration in op.numbers}


def table_address(start: int, end: int) -> int:
    """The address for the record's table, given the lowest address that a case names and the end of the highest.

    It is aligned, because a field may be shifted.
    """
    return (start - _TABLE if start >= _TABLE else end + _ALIGNMENT - 1) & -_ALIGNMENT
