"""The site under test: the record that names it, and what lies in memory."""

from __future__ import annotations

from pvspec.engine.apply import Kernel
from pvspec.engine.records import build_records
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.tested import table_address
from pvspec.spectest.binding import Binding
from pvspec.spectest.subject import Subject

FILLER = 0xCC  # the original instructions, where a case does not say


class Site:
    """What a case describes."""

    def __init__(self, subject: Subject, bound: Binding) -> None:
        self.subject = subject
        self.address = subject.case.address.value
        self.original = _original(subject)
        self.memory = {item.address.value: bytes.fromhex(item.contents.value) for item in subject.case.memory}
        self.memory[self.address] = self.original
        self.record = self._op_record(bound) if subject.backend else self._family_record()

    def patched(self, kernel: Kernel) -> bytes:
        """The site's bytes after the table with its one record was applied; PatchError."""
        base = min(self.memory)
        end = max(address + len(data) for address, data in self.memory.items())
        text = bytearray(end - base)
        for address, data in self.memory.items():
            text[address - base : address - base + len(data)] = data
        self._apply(kernel, text, base, table_address(base, end))
        return bytes(text[self.address - base : self.address - base + len(self.original)])

    def _apply(self, kernel: Kernel, text: bytearray, base: int, place: int) -> None:
        name = self.subject.name
        interface = kernel.spec.interface
        if self.subject.backend:
            if interface is None or interface.layout is None:
                raise self.subject.lack("the interface has no table of sites to test", self.subject.case.span)
            table = build_records(interface.layout, [self.record], place)
            kernel.apply(table, text, base, table_address=place)
        else:
            table = build_records(kernel.spec.families[name].layout, [self.record], place)
            kernel.apply_family(name, table, text, base, table_address=place)

    def _op_record(self, bound: Binding) -> dict[str, int]:
        subject, op = self.subject, self.subject.case.op
        assert subject.interface is not None
        assert op is not None
        number = subject.numbers(bound.options)[op.text]
        mask = self._mask(subject.interface)
        return {"addr": self.address, "type": number, "len": len(self.original), "clobber": mask}

    def _mask(self, interface: model.Interface) -> int:
        """The clobber mask of the case, all registers if it names none."""
        everything = sum(interface.clobbers.values())
        if not self.subject.case.clobbers:
            return everything
        mask = 0
        for name in self.subject.case.clobbers[0]:
            mask |= {"any": everything, "none": 0, **interface.clobbers}[name.text]
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
            record[value.name.text] = self._field(value)
        return record

    def _field(self, value: ast.FieldValue) -> int:
        match value.value:
            case ast.Number():
                return value.value.value
            case ast.Name():
                return self.subject.spec.machine.features[value.value.text]
        assert value.address is not None
        self.memory[value.address.value] = bytes.fromhex(value.value.value)
        return value.address.value


def _original(subject: Subject) -> bytes:
    for original in subject.case.originals:
        return bytes.fromhex(original.value)
    return bytes([FILLER]) * (subject.length or 0)
