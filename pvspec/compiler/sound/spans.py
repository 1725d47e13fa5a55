"""Where in the spec an instruction comes from."""

from __future__ import annotations

import re

from pvspec.lang import model
from pvspec.lang.source import Span
from pvspec.x86.code import Code, Instruction

_COMMENT = re.compile(r"#[^\n]*")
_BYTE = re.compile(r"[0-9A-Fa-f]{2}")


def instruction_span(arm: model.Arm, code: Code, instruction: Instruction) -> Span:
    """The statement that an instruction comes from, or its bytes; the whole arm for a bare `call` or `jmp`."""
    match arm.action:
        case model.Assembly(source):
            return source.span.part(*_statement(source.value, code, instruction))
        case model.RawBytes(source):
            pairs = list(_BYTE.finditer(source.value))
            first, last = pairs[instruction.offset], pairs[instruction.offset + instruction.size - 1]
            return source.span.part(first.start(), last.end())
    return arm.span


def _statement(source: str, code: Code, wanted: Instruction) -> tuple[int, int]:
    text = _COMMENT.sub(lambda comment: " " * len(comment[0]), source)
    end = 0
    for instruction in code.instructions:
        start = text.index(instruction.source, end)
        end = start + len(instruction.source)
        if instruction is wanted:
            return start, end
    return 0, len(source)
