"""AT&T syntax, recognised so that the message can name it, and converted where that is simple."""

from __future__ import annotations

import re

_SIGIL = re.compile(r"%+[A-Za-z0-9]|\$-?[0-9]")  # `$name` may be a symbol's own name
_STATEMENT = re.compile(
    r"\s*((?:(?:lock|rep|repe|repne|repz|repnz|notrack|bnd)\s+)*)([A-Za-z]\w*)\s*(.*?)\s*", re.ASCII
)
_MEMORY = re.compile(
    r"(?:%(?P<segment>[cdefgs]s):)?(?P<displacement>[\w.$+-]*)"
    r"(?:\((?:%(?P<base>\w+))?(?:,%(?P<index>\w+)(?:,(?P<scale>[1248]))?)?\))?",
    re.ASCII,
)
_SIZES = {"b": "byte", "w": "word", "l": "dword", "q": "qword"}
_WORDS = """
    adc add and bsf bsr bswap bt btc btr bts call cmp cmpxchg dec div idiv imul in inc jmp lea mov mul neg not or out
    pop push rcl rcr ret rol ror sar sbb shl shr sub test xadd xchg xor
"""
_SUFFIXED = frozenset(_WORDS.split())
_EXTENDING = re.compile(r"mov([sz])([bw])([wlq])")
_IN_ORDER = frozenset(["enter", "bound"])  # operands are in the order of Intel syntax


def is_att(statement: str) -> bool:
    """Whether a statement is written in AT&T syntax, as its `%` or `$` shows."""
    return _SIGIL.search(statement) is not None


def intel_spelling(statement: str) -> str | None:
    """A statement of AT&T syntax in Intel syntax; None if that takes more than respelling."""
    found = _STATEMENT.fullmatch(statement.replace("%%", "%"))
    if found is None or found[2] in _IN_ORDER or found[2].startswith("f"):  # x87 has letters of its own for sizes
        return None
    mnemonic, size = _mnemonic(found[2].lower())
    goes_to = mnemonic in ("call", "jmp") or (mnemonic[0] == "j" and mnemonic[1:].isalpha())
    written = re.split(r",(?![^(]*\))", re.sub(r"\s+", "", found[3])) if found[3] else []
    operands = [_operand(text, size, goes_to, mnemonic == "lea") for text in reversed(written)]
    known = [operand for operand in operands if operand is not None]
    if len(known) < len(operands):
        return None
    return found[1] + f"{mnemonic} {', '.join(known)}".strip()


def _mnemonic(word: str) -> tuple[str, str]:
    """The mnemonic without the letter for the operands' size, and that size's name, empty if there is none."""
    extending = _EXTENDING.fullmatch(word)
    if extending is not None:
        return f"mov{extending[1]}x", _SIZES[extending[2]]
    if word not in _SUFFIXED and word[:-1] in _SUFFIXED and word[-1] in _SIZES:
        return word[:-1], _SIZES[word[-1]]
    return ("mov", "") if word == "movabs" else (word, "")


def _operand(text: str, size: str, goes_to: bool, is_address: bool) -> str | None:
    if goes_to and not text.startswith("*"):
        return text if text and text[0] not in "%$" else None
    text = text.removeprefix("*")
    if re.fullmatch(r"%\w+|%st\([0-7]\)", text, re.ASCII):
        return text[1:]
    if text.startswith("$"):
        return text[1:] if re.fullmatch(r"-?\d\w*", text[1:], re.ASCII) else f"offset {text[1:]}"
    memory = _MEMORY.fullmatch(text)
    if memory is None or not text:
        return None
    scaled = f"{memory['index']}*{memory['scale'] or 1}" if memory["index"] else None
    address = " + ".join(part for part in (memory["base"], scaled, memory["displacement"] or None) if part)
    segment = f"{memory['segment']}:" if memory["segment"] else ""
    pointer = f"{size} ptr " if size and not is_address else ""
    return f"{pointer}{segment}[{address}]".replace("+ -", "- ")
