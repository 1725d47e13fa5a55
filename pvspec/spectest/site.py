"""The site under test: the record that names it, and what lies in memory."""

from __future__ import annotations

from collections.abc import Mapping
from mmap import mmap
from types import ModuleType
from typing import Any

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.spectest.binding import Binding
from pvspec.spectest.subject import Subject

MAX_TEXT = 64 << 20  # bytes between the lowest and the highest address of a case
FILLER = 0xCC  # the original instructions, where a case does not say
_TABLE = 0x4000  # the record's table lies so far in front of what it speaks of
_ALIGN = 16


class Site:
    """What a case describes; raises Lacking if something is missing."""

    def __init__(self, subject: Subject, bound: Binding) -> None:
        self.subject = subject
        self.address = subject.case.address.value
        self.original = _original(subject)
        self.memory = {item.address.value: subject.hex(item.contents) for item in subject.case.memory}
        self.memory[self.address] = self.original
        self.record = self._op_record(bound) if subject.backend else self._family_record()
        bits = subject.spec.machine.bits
        if any(address + len(data) > 1 << bits for address, data in self.memory.items()):
            raise subject.lack(f"the case goes beyond the last {bits}-bit address", subject.case.span)

    def patched(self, kernel: Any, module: ModuleType) -> bytes:
        """The site's bytes once its one record was applied; PatchError of the module, Lacking."""
        if self.subject.backend is None:
            return self._by_family(kernel, module)
        if module.INTERFACE.layout is None:
            return self._by_rule(kernel)
        text, place = bytearray(self.original), self._beside(self.address, self.address + len(self.original))
        table = module.build_records(module.INTERFACE.layout, [self.record], place)
        kernel.apply(table, text, self.address, table_address=place)
        return bytes(text)

    def _by_rule(self, kernel: Any) -> bytes:
        """What the backend's rule makes of the site, for an interface without a table of sites."""
        code, record = bytearray(self.original), self.record
        used = kernel.patch(record["type"], record["clobber"], code, record["addr"], record["len"])
        kernel.pad(code, used, record["len"])
        return bytes(code)

    def _by_family(self, kernel: Any, module: ModuleType) -> bytes:
        base = min(self.memory)
        end = max(address + len(data) for address, data in self.memory.items())
        if end - base > MAX_TEXT:
            span = self.subject.case.span
            raise self.subject.lack(f"the case's addresses lie more than {MAX_TEXT} bytes apart", span)
        # Mapped, for up to 64 MiB of which a case touches a few bytes must cost no memory; and unmapped by hand, since
        # whoever runs the tests may have switched the garbage collector off.
        with mmap(-1, max(end - base, 1)) as buffer:
            for address, data in self.memory.items():
                buffer[address - base : address - base + len(data)] = data
            text = module.Text(buffer, base)
            try:
                self._apply_family(kernel, module, text, self._beside(base, end))
                return bytes(buffer[self.address - base : self.address - base + len(self.original)])
            finally:
                text.view.release()

    def _apply_family(self, kernel: Any, module: ModuleType, text: Any, place: int) -> None:
        family = module.SPEC.families[self.subject.name]
        table = module.build_records(family.layout, [self.record], place)
        for outcome in kernel.outcomes_of(module.FamilySites(kernel, family, text), table, place):
            if (outcome.address, outcome.length) != (self.address, len(self.original)):
                found = f"the record's site is {outcome.length} bytes at {outcome.address:#x}"
                message = f"{found}, the case's {len(self.original)} bytes at {self.address:#x}"
                raise self.subject.lack(message, self.subject.case.address.span)

    def _beside(self, base: int, end: int) -> int:
        """Where the record's table lies, beside text from base to end: aligned, as a field may count in words."""
        return (base - _TABLE if base >= _TABLE else end + _ALIGN - 1) & -_ALIGN

    def _op_record(self, bound: Binding) -> dict[str, int]:
        subject, op = self.subject, self.subject.case.op
        if subject.interface is None or op is None:
            raise subject.lack("the case names no op", subject.case.span)
        if op.text not in subject.interface.ops:
            raise subject.unknown("op", op, subject.interface.ops)
        number = subject.numbers(bound.options).get(op.text)
        if number is None:
            raise subject.lack(f"`{op.text}` does not exist with these options", op.span)
        mask = self._mask(subject.interface)
        return {"addr": self.address, "type": number, "len": len(self.original), "clobber": mask}

    def _mask(self, interface: model.Interface) -> int:
        """The clobber mask of the case, all registers if it names none."""
        everything = sum(interface.clobbers.values())
        known: Mapping[str, int] = {"any": everything, "none": 0, **interface.clobbers}
        if not self.subject.case.clobbers:
            return everything
        mask = 0
        for name in self.subject.case.clobbers[0]:
            if name.text not in known:
                raise self.subject.unknown("clobber register", name, known)
            mask |= known[name.text]
        return mask

    def _family_record(self) -> dict[str, int]:
        family = self.subject.family
        assert family is not None
        # what a case does not say is 0; an address that counts from its own place must be one in reach
        record = {item.name: self.address if item.relative else 0 for item in family.layout.fields}
        if "site" in record:
            record["site"] = self.address
        if "len" in record:
            record["len"] = len(self.original)
        for value in self.subject.case.fields:
            if value.name.text not in record:
                raise self.subject.unknown("field", value.name, record)
            record[value.name.text] = self._field(value)
        return record

    def _field(self, value: ast.FieldValue) -> int:
        match value.value:
            case ast.Number():
                return value.value.value
            case ast.Name():
                features = self.subject.spec.machine.features
                if value.value.text not in features:
                    raise self.subject.unknown("feature", value.value, features)
                return features[value.value.text]
        assert value.address is not None
        self.memory[value.address.value] = self.subject.hex(value.value)
        return value.address.value


def _original(subject: Subject) -> bytes:
    length = subject.length()
    for original in subject.case.originals:
        data = subject.hex(original)
        if len(data) != length:
            raise subject.lack(f"{len(data)} original bytes for a site of {length}", original.span)
        return data
    return bytes([FILLER]) * length
