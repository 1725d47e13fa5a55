"""What a kernel's table of ops holds, read off its unpatched sites."""

from __future__ import annotations

from collections.abc import Callable

from pvspec.engine.errors import PatchError
from pvspec.engine.records import parse_records
from pvspec.engine.spec import Interface


def find_table(
    interface: Interface, pointer: int, table: bytes | memoryview, address: int, read: Callable[[int, int], bytes]
) -> int | None:
    """The address of the kernel's table of ops, as its unpatched sites name it; None if no site does.

    `pointer` is the size of a slot in bytes, `read(address, size)` gives the kernel's memory. PatchError if two
    sites disagree.
    """
    if interface.layout is None:
        return None
    found, by = None, 0
    for record in parse_records(interface.layout, table, address):
        slot = slot_of(interface, record["addr"], read(record["addr"], record["len"]))
        if slot is None:
            continue
        start = slot - record["type"] * pointer
        if found is not None and start != found:
            raise PatchError(f"sites {by:#x} and {record['addr']:#x} name tables at {found:#x} and {start:#x}")
        found, by = start, record["addr"]
    return found


def slot_of(interface: Interface, site: int, code: bytes) -> int | None:
    """The address of the slot that an unpatched site names, None if this is no such site."""
    for prefix, size, relative in interface.slots:
        end = len(prefix) + size
        if code.startswith(prefix) and len(code) >= end:
            value = int.from_bytes(code[len(prefix) : end], "little", signed=relative)
            return site + end + value if relative else value
    return None


def read_targets(numbers: list[int], start: int, pointer: int, read: Callable[[int, int], bytes]) -> dict[int, int]:
    """The function of each op number, from the table that lies at `start`."""
    return {number: int.from_bytes(read(start + number * pointer, pointer), "little") for number in numbers}
