"""The site under test: its record, and the contents of memory."""

from __future__ import annotations

from mmap import mmap

from pvspec.engine.apply import Kernel
from pvspec.engine.families import FamilySites
from pvspec.engine.records import build_records
from pvspec.engine.sites import State
from pvspec.engine.text import Text
from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.check.tested import table_address
from pvspec.spectest.binding import Binding
from pvspec.spectest.subject import Subject

FILLER = 0xCC  # the original instructions, if a case does not give them


class Site:
    """What a case describes."""

    def __init__(self, subject: Subject, bound: Binding) -> None:
        self.subject = subject
        self.address = subject.case.address.value
        self.original = _original(subject)
        self.memory = _contents(subject, running=False)
        self.memory[self.address] = self.original
        self._running = _contents(subject, running=True)
        self.record = self._op_record(bound) if subject.backend else self._family_record()

    def patched(self, kernel: Kernel) -> bytes:
        """The site's bytes after its one record was applied; raises PatchError or Lacking."""
        if self.subject.backend is None:
            return self._by_family(kernel)
        interface = kernel.spec.interface
        assert interface is not None
        if interface.layout is None:
            return self._by_rule(kernel)
        text, place = bytearray(self.original), table_address(self.address, self.address + len(self.original))
        table = build_records(interface.layout, [self.record], place)
        kernel.apply(table, text, self.address, table_address=place)
        return bytes(text)

    def _by_rule(self, kernel: Kernel) -> bytes:
        """What the backend's rule makes of the site, for an interface without a table of sites."""
        code, record = bytearray(self.original), self.record
        used = kernel.patch(record["type"], record["clobber"], code, record["addr"], record["len"])
        kernel.pad(code, used, record["len"])
        return bytes(code)

    def _by_family(self, kernel: Kernel) -> bytes:
        base = min(self.memory)
        end = max(address + len(data) for address, data in self.memory.items())
        # Mapped, because up to 64 MiB, of which a case touches a few bytes, must not cost memory; and unmapped here,
        # because the caller may have disabled the garbage collector.
        with mmap(-1, max(end - base, 1)) as buffer:
            for address, data in self.memory.items():
                buffer[address - base : address - base + len(data)] = data
            text = Text(buffer, base)
            try:
                self._apply_family(kernel, text, table_address(base, end))
                return bytes(buffer[self.address - base : self.address - base + len(self.original)])
            finally:
                text.view.release()

    def _apply_family(self, kernel: Kernel, text: Text, place: int) -> None:
        family = kernel.spec.families[self.subject.name]
        table = build_records(family.layout, [self.record], place)
        for outcome in kernel.outcomes_of(FamilySites(kernel, family, text, self._state(text)), table, place):
            if (outcome.address, outcome.length) != (self.address, len(self.original)):
                found = f"the record's site is {outcome.length} bytes at {outcome.address:#x}"
                message = f"{found}, the case's {len(self.original)} bytes at {self.address:#x}"
                raise self.subject.lack(message, self.subject.case.address.span)

    def _state(self, text: Text) -> State:
        """Memory while the kernel runs: where the case does not tell, as the image has it."""

        def read(address: int, size: int) -> bytes:
            known = self._running.get(address, b"")
            return known if len(known) == size else text.read(address, size)

        return read

    def _op_record(self, bound: Binding) -> dict[str, int]:
        subject, op = self.subject, self.subject.case.op
        assert subject.interface is not None
        assert op is not None
        number = subject.numbers(bound.options)[op.text]
        mask = self._mask(subject.interface)
        return {"addr": self.address, "type": number, "len": len(self.original), "clobber": mask}

    def _mask(self, interface: model.Interface) -> int:
        """The clobber mask of the case; all registers if it does not name any."""
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
        # what a case does not set is 0; a relative field must hold an address within reach
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


def _contents(subject: Subject, running: bool) -> dict[int, bytes]:
    parts = (part for part in subject.case.memory if part.running == running)
    return {part.address.value: bytes.fromhex(part.contents.value) for part in parts}


def _original(subject: Subject) -> bytes:
    for original in subject.case.originals:
        return bytes.fromhex(original.value)
    return bytes([FILLER]) * (subject.length or 0)
