"""What a case expects, computed without the engine (code, holes, runs of nops), so that the two are independent."""

from __future__ import annotations

from pvspec.lang import syntax as ast
from pvspec.spectest.binding import Binding
from pvspec.spectest.site import Site
from pvspec.spectest.subject import Subject
from pvspec.x86.assembler import assemble

_OPCODES = {"call": b"\xe8", "jmp": b"\xe9"}


def expected(subject: Subject, bound: Binding, site: Site, nops: tuple[bytes, ...], jumps: bool) -> bytes | ast.Text:
    """The site's bytes, or the text that the message of the expected `bug` must contain."""
    wants = subject.case.wants
    if any(want.kind in ("bug", "keep") for want in wants):
        return wants[0].value if isinstance(wants[0].value, ast.Text) else site.original
    code = b""
    for want in wants:
        code += _piece(want, site.address + len(code), subject, bound)
        if want.kind == "nops":
            code += _nops(len(site.original) - len(code), nops, jumps)
    return code


def _piece(want: ast.Want, address: int, subject: Subject, bound: Binding) -> bytes:
    match want.kind, want.value:
        case "bytes", ast.Text(value=text):
            return bytes.fromhex(text)
        case "asm", ast.Text(value=text):
            return assemble(text, subject.spec.machine.bits, bound.symbols.keys()).filled(address, bound.symbols)
        case ("call" | "jmp") as mnemonic, ast.Number(value=target):
            return _OPCODES[mnemonic] + (target - (address + 5) & 0xFFFFFFFF).to_bytes(4, "little")
    return b""


def _nops(count: int, table: tuple[bytes, ...], jumps: bool) -> bytes:
    if jumps and count > len(table):
        jump = bytes([0xEB, count - 2]) if count < 130 else b"\xe9" + (count - 5).to_bytes(4, "little")
        return jump + b"\xcc" * (count - len(jump))
    pieces = []
    while count > 0:
        pieces.append(table[min(count, len(table)) - 1])
        count -= len(pieces[-1])
    return b"".join(pieces)
