"""Literal numbers, numbers that depend on options, and hexadecimal bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from pvspec.lang import syntax as ast
from pvspec.lang.check.names import Declared, look_up
from pvspec.lang.diagnostics import Findings

MAX_FACTORS = 8
"""Factors of a product in a spec; one with more is refused."""


def evaluate(expr: ast.Sum, named: Mapping[str, int]) -> int:
    """The value of an expression, in which options count 0 or 1; an unknown name counts 0."""
    return sum(
        sign * math.prod(_factor(f, named) for f in product.factors[:MAX_FACTORS]) for sign, product in expr.parts
    )


def _factor(factor: ast.Number | ast.Name | ast.Sum, named: Mapping[str, int]) -> int:
    match factor:
        case ast.Number():
            return factor.value
        case ast.Name():
            return int(named.get(factor.text, 0))
    return evaluate(factor, named)


def constants(items: Iterable[ast.Constant], findings: Findings) -> Declared[int]:
    """The numbers that have names."""
    named = Declared[int]("number", findings)
    for item in items:
        named.declare(item.name, item.value.value)
    return named


def check_names(expr: ast.Sum, named: Mapping[str, int], what: str, findings: Findings) -> None:
    """A finding for each unknown name in an expression; `what`: what it could have been."""
    for _, product in expr.parts:
        if len(product.factors) > MAX_FACTORS:
            findings.add("PV003", f"a product has more than {MAX_FACTORS} factors", (product.span, "use fewer"))
        for factor in product.factors:
            if isinstance(factor, ast.Name):
                look_up(named, factor, what, findings)
            elif isinstance(factor, ast.Sum):
                check_names(factor, named, what, findings)


def in_range(number: ast.Number, low: int, high: int, what: str, findings: Findings) -> int:
    """The number; or, with a finding, the nearest bound."""
    if not low <= number.value <= high:
        findings.add("PV202", f"{what} {number.value} is out of range", (number.span, f"{low} to {high}"))
    return min(max(number.value, low), high)


def hex_pattern(text: ast.Text, findings: Findings) -> tuple[bytes, bytes]:
    """As `hex_bytes`, with `?` for any digit: the bytes, 0 for such digits, and a mask of the others; empty if all."""
    if "?" not in text.value:
        return hex_bytes(text, findings), b""
    code = hex_bytes(text.changed(value=text.value.replace("?", "0")), findings)
    return code, bytes.fromhex(re.sub("[0-9A-Fa-f]", "f", text.value).replace("?", "0")) if code else b""


def hex_bytes(text: ast.Text, findings: Findings) -> bytes:
    """The bytes of a string of two-digit hexadecimal numbers."""
    try:
        return bytes.fromhex(text.value)
    except ValueError:
        findings.add("PV205", "not hexadecimal bytes", (text.span, 'must be pairs of digits, as in "0f 1f 00"'))
        return b""
