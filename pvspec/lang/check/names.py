"""Declaring and looking up names, and registers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pvspec.lang import model
from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span
from pvspec.x86.intel import full_width, register_bytes

T = TypeVar("T")

# words that a guard, a branch, an arm or a test reads as something else
_GUARD_WORDS = frozenset(
    {"backend", "cmdline", "cpu", "cpus", "kernel", "nops", "not", "op", "target", "vulnerability"}
)
_ARM_WORDS = ("when", "clobbers", "asm", "bytes", "copy", "keep", "store")
_ACTIONS = frozenset({"keep", "nop"})
RESERVED = {
    "backend": _ACTIONS,
    "chain": _ACTIONS,
    "field": _GUARD_WORDS | {"elsewhere", "memory", "original", "state"},
    "op": frozenset({"cpus"}),
    "option": _GUARD_WORDS | {"site"},
    "read": _GUARD_WORDS | {"elsewhere", "site"},
    "symbol": frozenset({"cpus", "elsewhere", "null", "target"}),
}


class Declared(dict[str, T]):
    """Names declared so far, with what they mean; a second declaration is a finding."""

    def __init__(self, what: str, findings: Findings) -> None:
        super().__init__()
        self.what = what
        self.findings = findings
        self.spans: dict[str, Span] = {}

    def declare(self, name: ast.Name, value: T) -> None:
        """Declare a name, unless it is taken or reserved."""
        if name.text in self.spans:
            self.findings.add(
                "PV102",
                f"{self.what} `{name.text}` is declared twice",
                (name.span, "again here"),
                (self.spans[name.text], "first here"),
            )
            return
        if name.text in RESERVED.get(self.what, ()):
            self.findings.add("PV103", f"`{name.text}` is a reserved word", (name.span, "choose another name"))
        self.spans[name.text] = name.span
        self[name.text] = value


def look_up(known: Mapping[str, T], name: ast.Name, what: str, findings: Findings) -> T | None:
    """What a name means, or a finding."""
    if name.text in known:
        return known[name.text]
    unknown(name, what, known, findings)
    return None


def unknown(name: ast.Name, what: str, known: Iterable[str], findings: Findings) -> None:
    """The finding for a name that nothing declares."""
    known = set(known)
    findings.work.add(len(known) // 4, "its unknown names", name.span)
    notes = [f"expected one of: {', '.join(sorted(known))}"] if 0 < len(known) <= 12 else []
    # an arm's misspelt keyword reads as the name of a chain
    help = findings.work.suggestions.line(name.text, known.union(_ARM_WORDS if what == "chain" else ()))
    if "$" in name.text and not help:
        help = "`$` begins a variable of `each`, and no enclosing `each` declares this one"
    findings.add("PV101", f"unknown {what} `{name.text}`", (name.span, "not declared"), notes=notes, help=help)


REGISTERS = {
    32: frozenset(["eax", "ebx", "ecx", "edx", "esi", "edi", "ebp"]),
    64: frozenset(
        ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"]
    ),
}


def registers(names: Iterable[ast.Name], bits: int, findings: Findings) -> frozenset[str]:
    """The full-width registers that these names refer to."""
    known = REGISTERS[bits]
    for name in names:
        if name.text not in known:
            unknown(name, f"{bits}-bit register", known, findings)
    return frozenset(name.text for name in names) & known


def result_bytes(names: Iterable[ast.Name], bits: int, findings: Findings) -> dict[str, frozenset[int]]:
    """The bytes of each full-width register that results name; part of a register, as `al`, can be a result too."""
    result: dict[str, frozenset[int]] = {}
    for name in names:
        full = full_width(name.text, bits)
        exists = full in REGISTERS[bits] and register_bytes(name.text).stop <= bits // 8
        if not exists or (bits == 32 and name.text in ("sil", "dil", "bpl")):
            unknown(name, f"{bits}-bit register", REGISTERS[bits], findings)
            continue
        result[full] = result.get(full, frozenset()) | frozenset(register_bytes(name.text))
    return result


def option_names(items: Iterable[ast.Option], findings: Findings) -> Declared[bool]:
    """Options with their defaults."""
    options = Declared[bool]("option", findings)
    for item in items:
        for name in item.names:
            options.declare(name, item.default.value)
    return options


def symbol_names(
    items: Iterable[ast.Symbol], bits: int, default: frozenset[str], findings: Findings
) -> Declared[model.Symbol]:
    """Symbols with the registers that calling them may destroy: `default` unless declared."""
    symbols = Declared[model.Symbol]("symbol", findings)
    for item in items:
        clobbers = default if item.clobbers is None else clobber_registers(item.clobbers, default, bits, findings)
        for name in item.names:
            symbols.declare(name, model.Symbol(name.text, name.span, clobbers))
    return symbols


def clobber_registers(
    names: Iterable[ast.Name], everything: frozenset[str], bits: int, findings: Findings
) -> frozenset[str]:
    """A list of registers, which may contain `any` or `none`."""
    result: frozenset[str] = frozenset()
    plain = [name for name in names if name.text not in ("any", "none")]
    if len(plain) < len(list(names)):
        result = everything if any(name.text == "any" for name in names) else result
    return result | registers(plain, bits, findings)


def protected_names(items: Iterable[ast.Protect], findings: Findings) -> tuple[str, ...]:
    """Names of protected functions."""
    protects = Declared[None]("protected function", findings)
    for item in items:
        for name in item.names:
            protects.declare(name, None)
    return tuple(protects)
