"""The parser's tables from the cache: the same parser, or none."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lark import Lark, Token
from lark.exceptions import UnexpectedInput
from lark.lark import PostLex

from pvspec.lang.parse import tables
from pvspec.lang.parse.grammar import WordsRunTogether, parser
from pvspec.support.paths import resource

GRAMMAR = resource("grammar", "pvspec.lark").read_text(encoding="utf-8")
TESTS = Path(__file__).parents[1]
SPECS = sorted([*TESTS.glob("pass/*.pvs"), *TESTS.glob("fail/*.pvs"), *TESTS.glob("run/*.pvs")])


class Through(PostLex):
    """Lets all tokens pass."""

    always_accept = ()

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@pytest.fixture(scope="module")
def built() -> Lark:
    return tables.build(GRAMMAR, Through())


@pytest.fixture(scope="module")
def dumped(built: Lark) -> bytes:
    data = tables.dump(built)
    assert data is not None
    return data


@pytest.fixture(scope="module")
def loaded(dumped: bytes) -> Lark:
    parser = tables.load(dumped, Through())
    assert parser is not None
    return parser


def outcome(parser: Lark, text: str) -> tuple[object, ...]:
    """The tree with each token's place, or all that an error says."""
    try:
        tree = parser.parse(text)
    except UnexpectedInput as error:
        named = {name: getattr(error, name, None) for name in ("expected", "accepts", "allowed", "token", "char")}
        return type(error), error.pos_in_stream, error.line, error.column, str(error), named
    tokens = [
        (token.type, token, token.start_pos, token.end_pos) for token in tree.scan_values(lambda _: True) if token
    ]
    metas = [(sub.data, vars(sub.meta)) for sub in tree.iter_subtrees()]
    return tree, tokens, metas


def test_the_same_trees_and_the_same_errors(built: Lark, loaded: Lark) -> None:
    kinds = set()
    for spec in SPECS:
        text = spec.read_text(encoding="utf-8", errors="replace")
        assert outcome(loaded, text) == outcome(built, text), spec
        kinds.add(len(outcome(built, text)))
    assert len(kinds) == 2, "there are trees and errors among them"


def test_the_same_at_every_cut(built: Lark, loaded: Lark) -> None:
    text = (TESTS / "pass" / "minimal.pvs").read_text(encoding="utf-8")
    for end in range(len(text)):
        assert outcome(loaded, text[:end]) == outcome(built, text[:end])


def test_the_same_grammar(built: Lark, loaded: Lark) -> None:
    """What parse/ asks the parser for besides trees."""
    assert [(t.name, t.pattern.type, t.pattern.value, t.priority) for t in loaded.terminals] == [
        (t.name, t.pattern.type, t.pattern.value, t.priority) for t in built.terminals
    ]
    assert loaded.rules == built.rules
    assert [vars(rule.options) for rule in loaded.rules] == [vars(rule.options) for rule in built.rules]


def test_loading_and_dumping_again_changes_nothing(loaded: Lark, dumped: bytes) -> None:
    assert tables.dump(loaded) == dumped


def test_damaged_tables_are_no_tables(dumped: bytes) -> None:
    """The cache finds damage; this is for tables of another shape. Whatever they are, no exception comes out."""
    dice = random.Random(8)
    for _ in range(60):
        place = dice.randrange(len(dumped))
        for data in (dumped[:place], dumped[:place] + b"x" + dumped[place + 1 :]):
            parser = tables.load(data, Through())
            assert parser is None or isinstance(parser, Lark)
    for data in (b"", b"[]", b"{}", b"null", b"[1, 2]", b'[{"parser": 1}, []]', b"\xff", b"[" * 100_000):
        assert tables.load(data, Through()) is None


def test_every_part_that_is_missing_is_missed(dumped: bytes) -> None:
    data, memo = json.loads(dumped)
    for key in ("parser", "rules"):
        assert tables.load(json.dumps([{k: v for k, v in data.items() if k != key}, memo]).encode(), Through()) is None
    for key in ("tokens", "states", "start_states", "end_states"):
        table = {k: v for k, v in data["parser"]["parser"].items() if k != key}
        whole = {**data, "parser": {**data["parser"], "parser": table}}
        assert tables.load(json.dumps([whole, memo]).encode(), Through()) is None
    assert tables.load(json.dumps([data, memo[:-1]]).encode(), Through()) is None


def test_a_lark_with_other_tables_is_not_cached(built: Lark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lark, "memo_serialize", lambda *_: ({"parser": {}}, {}))
    assert tables.dump(built) is None
    monkeypatch.delattr(Lark, "_load_from_dict")
    assert tables.load(b"[{}, []]", Through()) is None


@pytest.mark.parametrize("damage", [None, b"", b"garbage"])
def test_the_second_parser_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None) -> None:
    monkeypatch.setenv("PVSPEC_CACHE", str(tmp_path))
    grammars: list[str] = []
    build = tables.build

    def counted(grammar: str, postlex: PostLex) -> Lark:
        grammars.append(grammar)
        return build(grammar, postlex)

    monkeypatch.setattr(tables, "build", counted)
    parser.__wrapped__()
    (entry,) = tmp_path.glob("tables-*")
    if damage is not None:
        entry.write_bytes(damage)
    again = parser.__wrapped__()
    assert len(grammars) == (1 if damage is None else 2)
    assert again.parse((TESTS / "base.pvs").read_text(encoding="utf-8")).data
    with pytest.raises(WordsRunTogether):
        again.parse("machine i386 { bits32 }")
