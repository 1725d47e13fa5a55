"""A kernel's own functions, called in a CPU emulator: what they return is what the kernel would make of it."""

from __future__ import annotations

import struct

import unicorn
import unicorn.x86_const as x86

from pvspec.kernel import KernelImage

_PAGE = 0x1000
_SCRATCH, _STACK = 0x10000, 0x80000  # below all kernels; 64 KiB each
_RETURN = 0x7000
_ARGUMENTS = (x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RCX)


class Functions:
    """The functions of a 64-bit kernel's image; they may use 64 KiB from `scratch` on."""

    scratch = _SCRATCH

    def __init__(self, image: KernelImage) -> None:
        self.image = image
        self.engine = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
        self.engine.ctl_set_tlb_mode(unicorn.UC_TLB_VIRTUAL)  # else addresses would be cut to 52 bits
        first, size = image.base & -_PAGE, len(image.memory) + 2 * _PAGE & -_PAGE
        self.engine.mem_map(first, size)
        self.engine.mem_write(image.base, bytes(image.memory))
        for start in (0, _SCRATCH, _STACK):  # at 0 is what gs leads to: the stack protector's canary
            self.engine.mem_map(start, 0x10000)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        self.engine.mem_write(address, data)

    def text(self, address: int) -> str:
        """The text at an address, up to a zero."""
        return bytes(self.engine.mem_read(address, 4096)).split(b"\0")[0].decode("latin-1")

    def pointer(self, address: int) -> int:
        """The address that lies at an address."""
        (value,) = struct.unpack("<Q", bytes(self.engine.mem_read(address, 8)))
        return int(value)

    def call(self, name: str, *arguments: int) -> int:
        """What a function returns."""
        address = self.image.symbols.address(name)
        assert address is not None, name
        for register, value in zip(_ARGUMENTS, arguments, strict=False):
            self.engine.reg_write(register, value)
        top = _STACK + 0x8000
        self.write(top, struct.pack("<Q", _RETURN))
        self.engine.reg_write(x86.UC_X86_REG_RSP, top)
        self.engine.emu_start(address, _RETURN, count=1_000_000)
        assert self.engine.reg_read(x86.UC_X86_REG_RIP) == _RETURN
        return int(self.engine.reg_read(x86.UC_X86_REG_RAX))
