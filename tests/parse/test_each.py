"""`each`: its word is put in where it is a token of its own, and nowhere else."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import SpecError
from pvspec.lang.parse import parse
from pvspec.lang.source import Source


def arms(variable: str, text: str) -> ast.Chain:
    """A chain that is one `each` with the words A and B."""
    (chain,) = parse(Source("c.pvs", f"chain c {{ each {variable} in A, B {{ {text} }} }}")).items
    assert isinstance(chain, ast.Chain)
    return chain


def replaced(variable: str, text: str) -> list[str]:
    """What a string becomes; the same, and a name, through three kinds of nodes."""
    asks = f'vulnerability {text} starts "{text}" and y_{text} within z_{text} .. q'
    chain = arms(variable, f'symbol x_{text} asm "{text}" when {asks}')
    strings = [arm.action.source.value for arm in chain.arms if isinstance(arm.action, ast.Asm)]
    assert [name.text for symbol in chain.symbols for name in symbol.names] == [f"x_{string}" for string in strings]
    for arm, string in zip(chain.arms, strings, strict=True):
        assert isinstance(arm.guard, ast.AllOf)
        said, within = arm.guard.parts
        assert isinstance(said, ast.Vulnerability)
        assert isinstance(within, ast.Within)
        assert (said.text.value, within.name.text, within.first.text) == (string, f"y_{string}", f"z_{string}")
    return strings


@pytest.mark.parametrize(
    ("variable", "text", "becomes"),
    [
        ("r", "$r", "W"),
        ("r", "$reg", "$reg"),  # longer than the word
        ("reg", "$r", "$r"),  # shorter
        ("reg", "$reg", "W"),
        ("reg", "$reg_", "$reg_"),
        ("reg", "$reg2", "$reg2"),
        ("reg", "$REG", "$REG"),
        ("reg", "areg", "areg"),  # no word of `each` at all
        ("reg", "a$reg", "aW"),
        ("reg", "a$reg$reg", "aWW"),
        ("reg", "a$$reg", "a$W"),
        ("reg", "a$reg$r", "aW$r"),
        ("r", "$reg$r", "$regW"),
    ],
)
def test_a_word_is_a_token(variable: str, text: str, becomes: str) -> None:
    assert replaced(variable, text) == [becomes.replace("W", word) for word in "AB"]


@given(st.from_regex(r"[a-c_]{1,3}", fullmatch=True), st.from_regex(r"[a-c_$]{1,8}", fullmatch=True))
def test_all_words_and_names(variable: str, text: str) -> None:
    pieces = re.split(r"(\$[a-c_]+)", text)
    assert replaced(variable, text) == [
        "".join(word if piece == f"${variable}" else piece for piece in pieces) for word in "AB"
    ]


def test_a_word_of_the_list_is_not_looked_at_again() -> None:
    (chain,) = parse(Source("c.pvs", 'chain c { each r in $r, $s { asm "$r" } }')).items
    assert isinstance(chain, ast.Chain)
    assert [arm.action.source.value for arm in chain.arms if isinstance(arm.action, ast.Asm)] == ["$r", "$s"]


@pytest.mark.parametrize("text", ["jmp x + 0x$r", "jmp x + $r", "jmp x + 1$r", "each s in C { nop }"])
def test_numbers_and_blocks_have_no_words(text: str) -> None:
    with pytest.raises(SpecError, match="PV002"):
        arms("r", text)
