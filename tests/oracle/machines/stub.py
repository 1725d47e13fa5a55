"""QEMU's gdb stub on a unix socket: a stopped guest's memory and registers, and breakpoints."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import NoReturn

RAX, RDX, RCX, RSI, RDI, RSP, RIP = 0, 3, 2, 4, 5, 7, 16
"""Numbers of registers; a register has 8 bytes, also while the guest runs 32-bit code."""
_REGISTERS = 17
_PART = 1024  # bytes of memory that one packet may have
_PATIENCE = 0.5  # seconds between two looks at whether the guest still makes sense


class Gone(Exception):
    """The guest has ended, hangs, or will not be read; the text says which."""


class Stub:
    """The guest of a QEMU that was started with -S; `look` raises Gone when there is nothing to wait for."""

    def __init__(self, path: str, look: Callable[[], None]) -> None:
        self._look = look
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._socket.connect(path)
                break
            except OSError:
                look()
                time.sleep(0.005)
        self._socket.settimeout(_PATIENCE)
        self.ask("qSupported:xmlRegisters=i386")
        self.ask("qXfer:features:read:target.xml:0,ffb")  # QEMU writes no register before it has been asked for this

    def close(self) -> None:
        """Leave the guest alone."""
        self._socket.close()

    def ask(self, text: str) -> str:
        """The answer to one packet."""
        data = text.encode()
        self._send(b"$%s#%02x" % (data, sum(data) & 255))
        while not (found := _PACKET.search(self._buffer)):
            try:
                more = self._socket.recv(1 << 20)
            except TimeoutError:
                self._look()
                continue
            except OSError:
                more = b""
            if not more:
                self._gone()
            self._buffer += more
        self._buffer = self._buffer[found.end() :]
        self._send(b"+")
        return found[1].decode()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            self._gone()

    def _gone(self) -> NoReturn:
        """Say why the guest has ended."""
        time.sleep(_PATIENCE)  # until it can be told
        self._look()
        raise Gone("the guest is gone")

    def read(self, address: int, size: int) -> bytes:
        """Memory at a virtual address."""
        parts = range(address, address + size, _PART)
        answers = [self.ask(f"m{at:x},{min(_PART, address + size - at):x}") for at in parts]
        if any(answer.startswith("E") for answer in answers):
            raise Gone(f"{size} bytes at {address:#x} cannot be read")
        return bytes.fromhex("".join(answers))

    def number(self, address: int, size: int) -> int:
        """An unsigned number of that many bytes."""
        return int.from_bytes(self.read(address, size), "little")

    def write(self, address: int, data: bytes) -> None:
        """Change memory at a virtual address."""
        self._order(f"M{address:x},{len(data):x}:{data.hex()}")

    def registers(self) -> list[int]:
        """The first 17 registers, by number."""
        values = bytes.fromhex(self.ask("g"))
        return [int.from_bytes(values[8 * at : 8 * at + 8], "little") for at in range(_REGISTERS)]

    def set_register(self, number: int, value: int) -> None:
        """Change one register."""
        self._order(f"P{number:x}={value.to_bytes(8, 'little').hex()}")

    def stop_at(self, address: int) -> None:
        """Set a breakpoint."""
        self._order(f"Z1,{address:x},1")

    def pass_by(self, address: int) -> None:
        """Remove a breakpoint."""
        self._order(f"z1,{address:x},1")

    def run(self) -> list[int]:
        """Go on to the next breakpoint; the registers there."""
        self.ask("c")
        return self.registers()

    def step(self) -> None:
        """Run one instruction."""
        self.ask("s")

    def _order(self, text: str) -> None:
        answer = self.ask(text)
        if answer != "OK":
            raise Gone(f"the guest refuses {text[:24]}: {answer}")


_PACKET = re.compile(rb"\$([^#]*)#..", re.DOTALL)
