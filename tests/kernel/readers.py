"""Readers of memory: honest ones of each kind, and hostile ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from pvspec.kernel import Reader


class FaultError(Exception):
    """A framework's own."""


class Short:
    """Returns the bytes before the first one that is missing."""

    def __init__(self, memory: Mapping[int, bytes]) -> None:
        self.memory = memory
        self.asked: list[tuple[int, int]] = []

    def read(self, address: int, size: int) -> bytes:
        self.asked.append((address, size))
        found = b""
        while len(found) < size and (part := self._part(address + len(found), size - len(found))):
            found += part
        return found

    def _part(self, address: int, size: int) -> bytes:
        for start, data in self.memory.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""


class Raising(Short):
    """Raises unless all bytes are there, as drgn does; and its arguments have other names."""

    def read(self, offset: int, length: int, pad: bool = False) -> bytes:
        found = super().read(offset, length)
        if len(found) < length:
            raise FaultError(f"could not find memory at {offset + len(found):#x}")
        return found


class Viewing(Short):
    """Returns a memoryview, as gdb does."""

    def read(self, address: int, size: int) -> memoryview:  # type: ignore[override]
        return memoryview(super().read(address, size))


class Slow(Short):
    """Returns at most 1000 bytes at once."""

    def read(self, address: int, size: int) -> bytes:
        return super().read(address, min(size, 1000))


KINDS = [Short, Raising, Viewing, Slow]


class Hostile:
    """Answers with whatever a function makes of the number of bytes."""

    def __init__(self, answer: Callable[[int], object]) -> None:
        self._answer = answer

    def read(self, address: int, size: int) -> object:
        return self._answer(size)


class Either:
    """The one reader, or the other as soon as there is anything in a list."""

    def __init__(self, one: Reader, other: Reader, switch: list[bool]) -> None:
        self._one, self._other, self._switch = one, other, switch

    def read(self, address: int, size: int) -> bytes | bytearray | memoryview:
        return (self._other if self._switch else self._one).read(address, size)


def hostile(answer: Callable[[int], object]) -> Reader:
    return cast(Reader, Hostile(answer))


def fail(error: Exception) -> Callable[[int], object]:
    def answer(_: int) -> object:
        raise type(error)(*error.args)  # a new one: an exception keeps the traceback of each time that it was raised

    return answer


LIES: dict[str, tuple[Callable[[int], object], str]] = {
    "too many": (
        lambda size: bytes(size + 1),
        r"the reader returned \d+ bytes at 0x[0-9a-f]+, where \d+ were asked for",
    ),
    "str": (lambda size: "x" * size, r"the reader returned str for \d+ bytes at 0x[0-9a-f]+, not bytes"),
    "None": (lambda _: None, "the reader returned NoneType for"),
    "int": (lambda size: size, "the reader returned int for"),
    "list": (lambda size: [0] * size, "the reader returned list for"),
    "wide view": (lambda size: memoryview(bytes(8 * size)).cast("Q"), r"the reader returned \d+ bytes at"),
}
