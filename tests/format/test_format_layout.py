"""The decisions of the canonical layout, one example each."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest

from pvspec.lang.diagnostics import SpecError
from pvspec.lang.format import align, breaks, format_text
from pvspec.lang.format.breaks import Piece, pieces
from pvspec.lang.format.rows import Row
from pvspec.lang.source import Source

LONG = '"' + "mov eax, ebx; " * 5 + '"'


def laid_out(text: str) -> str:
    return format_text(Source("x.pvs", text))


def body(head: str, text: str) -> str:
    """What becomes of a text between the braces of an item, without its indentation."""
    first, *lines, last, empty = laid_out(f"{head} {{ {text}\n}}").split("\n")
    assert (first, last, empty) == (f"{head} {{", "}", "")
    return dedent("\n".join(lines) + "\n")


def test_one_construct_a_line() -> None:
    assert laid_out('include "a" machine i386{bits 32 choose nops k8} passes{a,b}') == dedent("""\
        include "a"
        machine i386 {
            bits 32
            choose nops k8
        }
        passes { a, b }
        """)


def test_nothing_stays_nothing() -> None:
    assert laid_out(" \n\n") == ""
    assert laid_out("\n # alone  \n\n\n") == "# alone\n"


def test_a_syntax_error_is_reported() -> None:
    with pytest.raises(SpecError, match=r"unexpected `\{`"):
        laid_out("machine { }")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("op a 2 * ( b+1 )*c - 3", "op a  2*(b + 1)*c - 3\n"),
        ("op a 1( eax ,edx )->eax,edx", "op a  1  (eax, edx) -> eax, edx\n"),
        ("op a 1 when(a or(b))and not(c)", "op a  1  when (a or (b)) and not (c)\n"),
        ("option a ,b:bool=true", "option a, b : bool = true\n"),
        ("clobbers{}", "clobbers { }\n"),
        ("max_len 1 clobbers { eax 1 ecx 2 } clobbers {\n}", "max_len 1\nclobbers { eax 1  ecx 2 }\nclobbers { }\n"),
    ],
)
def test_spaces(text: str, expected: str) -> None:
    assert body("interface i on m", text) == expected


def test_calls_are_tight() -> None:
    rom = "rom ask ( n  u32 ) { returns{eip u32 type u8} 0 x=call eip otherwise=keep } a=ask (3)"
    assert body("backend b for i", rom) == dedent("""\
        rom ask(n u32) {
            returns { eip u32  type u8 }
            0 x       = call eip
            otherwise = keep
        }
        a = ask(3)
        """)
    assert body("test t", "a at 1 with ask (3)=x 5=>nops") == "a at 1 with ask(3) = x 5 => nops\n"


def test_ops_are_a_table() -> None:
    ops = "op a 1 op long_name 2 + x (eax) len 6 op b 3 -> eax\n\n# half\nop c 4 noreturn when x"
    assert body("interface i on m", ops) == dedent("""\
        op a          1
        op long_name  2 + x  (eax)  len 6
        op b          3      -> eax

        # half
        op c          4      noreturn  when x
        """)


def test_rules_and_their_arms_are_columns() -> None:
    rules = 'a = asm "x" when p\n else bytes "90 90" when q else keep\n b_b = nop when p\n\notherwise = keep else nop'
    assert body("backend b for i", rules) == dedent("""\
        a         = asm "x"        when p
               else bytes "90 90"  when q  else keep
        b_b       = nop            when p

        otherwise = keep           else nop
        """)


def test_a_wide_cell_sets_no_column() -> None:
    rules = f"{'n' * 60} = nop a = nop bb = keep"
    assert body("backend b for i", rules) == f"{'n' * 60} = nop\na  = nop\nbb = keep\n"


def test_cases_are_aligned_up_to_a_blank_line() -> None:
    cases = 'a at 1 len 10 clobber eax => keep\n long at 2 len 6 clobber any => "90"\n\n\nb at 1 => nops'
    assert body("test t", cases) == dedent("""\
        a    at 1 len 10 clobber eax => keep
        long at 2 len 6  clobber any => "90"

        b at 1 => nops
        """)


def test_a_long_rule_is_broken_before_every_else() -> None:
    rule = f"a_name = asm {LONG} when p else keep else nop"
    assert body("backend b for i", rule) == dedent(f"""\
        a_name = asm {LONG}  when p
            else keep
            else nop
        """)


def test_a_long_case_is_broken_before_its_outcome_then_before_with() -> None:
    names = ", ".join(f"{'n' * 18} = {n}" for n in range(4))
    assert body("test t", f"a at 1 => {LONG} nops at 2 with b = 1 => {LONG} {LONG}") == dedent(f"""\
        a at 1 => {LONG} nops
          at 2 with b = 1
            => {LONG} {LONG}
        """)
    assert body("test t", f"a_name at 1 with {names} => keep") == dedent(f"""\
        a_name at 1
            with {names}
            => keep
        """)


def test_a_long_list_is_broken_behind_commas() -> None:
    names = [f"a_name_of_30_columns_and_no_{n:02}" for n in range(5)]
    text = body("interface i on m", "protect " + ",".join(names))
    assert text == f"protect {', '.join(names[:3])},\n    {', '.join(names[3:])}\n"


def test_a_line_holds_110_columns() -> None:
    last = "n" * (110 - len("    protect a, b"))
    assert body("interface i on m", f"protect a, b{last}") == f"protect a, b{last}\n"
    assert body("interface i on m", f"protect a, bb{last}") == f"protect a,\n    bb{last}\n"


def test_a_row_that_is_too_long_pushes_no_other() -> None:
    name, code = "n" * 36, f'"{"x" * 50}"'
    assert body("test t", f"a at 1 with {name} = 1 => {LONG} b at 2 => {code}") == dedent(f"""\
        a at 1 with {name} = 1
            => {LONG}
        b at 2 => {code}
        """)


def test_a_comment_in_its_head_opens_a_list() -> None:
    assert body("family f on m", 'table # why\n".x" { addr u32 }') == dedent("""\
        table  # why
            ".x" {
            addr u32
        }
        """)


def test_lists_keep_the_authors_lines_and_wrap() -> None:
    assert body("machine m", 'nops a { "90"\n"66 90" "66 66 90" }') == dedent("""\
        nops a {
            "90"
            "66 90"  "66 66 90"
        }
        """)
    fields = [f"a_field_of_this_table_{n} u32" for n in range(5)]
    assert body("family f on m", f'table ".x" {{ {" ".join(fields)} }}') == (
        'table ".x" {\n' + indent("  ".join(fields[:3]) + "\n" + "  ".join(fields[3:]), "    ") + "\n}\n"
    )
    assert body("interface i on m", "clobbers {\neax 1\nrax_x 2 }") == "clobbers {\n    eax   1\n    rax_x 2\n}\n"


def test_comments_stay_where_they_are() -> None:
    text = """\
        # above

        backend b for i {  # behind the brace
            # inside
            a = nop  # one

            bcd = nop# two
            c = asm "x"   # first
            # between
              else keep  # second
            d =  # inside an arm
                nop
            # last
        }
        # the end"""
    assert laid_out(dedent(text)) == dedent("""\
        # above

        backend b for i {  # behind the brace
            # inside
            a   = nop  # one

            bcd = nop      # two
            c   = asm "x"  # first
                # between
                else keep  # second
            d   =          # inside an arm
                nop
            # last
        }
        # the end
        """)


def test_comments_are_columns_within_a_level() -> None:
    text = 'table ".x" { # a\naddr u32 # b\nt u8 # c\n} # d\nmax_len 254 # e\n\nslot "ff" u32 # f'
    assert body("interface i on m", text) == dedent("""\
        table ".x" {  # a
            addr u32  # b
            t    u8   # c
        }             # d
        max_len 254   # e

        slot "ff" u32  # f
        """)


def test_strings_of_several_lines_are_left_alone() -> None:
    code = '"""\n  push eax  # kept\n\n\n\tpop eax \n"""'
    assert laid_out(f"chain c {{ asm {code} when x }}") == f"chain c {{\n    asm {code}  when x\n}}\n"


def test_no_keyword_is_taken_from_a_name() -> None:
    text = "nop = call else else when when when when = keep"
    assert body("backend b for i", text) == "nop  = call else  else when  when when\nwhen = keep\n"


@pytest.mark.parametrize("between", [" else ", "\n else "])
def test_a_long_chain_is_looked_at_a_few_times(between: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def counted(row: Row) -> list[Piece]:
        looked.append(len(row.tokens))
        return pieces(row)

    monkeypatch.setattr(breaks, "pieces", counted)
    monkeypatch.setattr(align, "pieces", counted)
    arms = between.join(f'bytes "90" when cpus == {number}' for number in range(500))
    laid_out(f"backend b for i {{ o = {arms} }}")
    assert sum(looked) < 20 * len(arms)
