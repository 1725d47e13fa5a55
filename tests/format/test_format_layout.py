"""The decisions of the canonical layout, one example each."""

from __future__ import annotations

from textwrap import dedent

import pytest

from pvspec.lang.diagnostics import SpecError
from pvspec.lang.format import format_text
from pvspec.lang.format.lines import Lines
from pvspec.lang.source import Source


def laid_out(text: str) -> str:
    return format_text(Source("x.pvs", text))


def body(head: str, text: str) -> str:
    """What becomes of a text between the braces of an item, without its indentation."""
    first, *others, last, empty = laid_out(f"{head} {{\n{text}\n}}").split("\n")
    assert (first, last, empty) == (f"{head} {{", "}", "")
    return dedent("\n".join(others) + "\n")


def decided(text: str) -> str:
    return body('decide d in "bugs.c"', text)


def has(*names: str, word: str = "and") -> str:
    """A guard of these columns a feature."""
    return f" {word} ".join(f"cpu has {name.ljust(15, '_')}" for name in names)


def test_nothing_stays_nothing() -> None:
    assert laid_out(" \n\n") == ""
    assert laid_out("\n # alone  \n\n\n") == "# alone\n"


def test_a_syntax_error_is_reported() -> None:
    with pytest.raises(SpecError, match=r"unexpected `\{`"):
        laid_out("machine { }")


def test_a_character_that_cannot_be_seen_is_reported() -> None:
    with pytest.raises(SpecError, match=r"U\+200B"):
        laid_out("machine m { }  # \u200b")


# ---- lines


def test_a_construct_has_a_line_of_its_own() -> None:
    assert laid_out('include "a" machine i386{bits 32 choose nops k8} passes{a,b}') == dedent("""\
        include "a"
        machine i386 {
            bits 32
            choose nops k8
        }
        passes { a, b }
        """)


@pytest.mark.parametrize(
    "text",
    [
        "if smp { set A }",
        "if smp { set A } else { set B }",
        "if smp {\n    set A\n}",
        "if smp {\n    set A\n} else if on i386 {\n    set B\n} else {\n    if up { set C }\n}",
        "if smp { }",
    ],
)
def test_a_block_stays_as_it_is(text: str) -> None:
    assert decided(text) == text + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("if smp{set A\n}", "if smp {\n    set A\n}\n"),
        ("if smp\n{\nset A }", "if smp {\n    set A\n}\n"),
        ("if smp { set A set B }", "if smp {\n    set A\n    set B\n}\n"),
        ("if smp { set A } set B", "if smp { set A }\nset B\n"),
        ("if smp {\nset A\n}\nelse\n{ set B }", "if smp {\n    set A\n} else\n    { set B }\n"),
        ("if smp {}", "if smp { }\n"),
        ("if smp {\n\n\n}", "if smp {\n}\n"),
        ("if smp {\n# why\n}", "if smp {\n    # why\n}\n"),
        ("if smp {  # why\n}", "if smp {  # why\n}\n"),
    ],
)
def test_braces(text: str, expected: str) -> None:
    assert decided(text) == expected.replace("else\n    {", "else {")


def test_what_goes_on_after_a_brace_follows_it() -> None:
    nops = 'nops a {\n"90"\n}\njumps before 6.12 nops b { "90" }\n\njumps'
    assert body("machine m", nops) == 'nops a {\n    "90"\n} jumps before 6.12\nnops b { "90" } jumps\n'
    assert decided("if a {\nset A\n} # why\nelse {\nset B }") == dedent("""\
        if a {
            set A
        }  # why
        else {
            set B
        }
        """)


def test_entries_keep_the_authors_lines() -> None:
    nops = 'nops a {\n  "90" "66 90"\n     "66 66 90"\n}\n'
    assert body("machine m", nops) == 'nops a {\n    "90" "66 90"\n    "66 66 90"\n}\n'
    assert body("interface i", "registers {\neax 1  ecx 2\nedx 4 }") == "registers {\n    eax 1  ecx 2\n    edx 4\n}\n"
    assert laid_out("passes {\na, b,\nc }") == "passes {\n    a, b,\n    c\n}\n"


def test_values_keep_the_authors_lines() -> None:
    text = 'early_param "a" -> b {\n    "off" "on" -> b = x, c = 1\n    "auto" since 6.2 -> b = y  "more"\n}\n'
    assert body("cmdline", text) == text


def test_a_rom_has_an_answer_a_line() -> None:
    rom = "rom ask(n u32) { returns { eip u32  type u8 } 0 x = call eip otherwise = keep }"
    assert body("backend b for i", rom) == dedent("""\
        rom ask(n u32) {
            returns { eip u32  type u8 }
            0 x = call eip
            otherwise = keep
        }
        """)


def test_what_goes_on_is_where_its_author_put_it() -> None:
    text = """\
        set A       when x
                      or y
        b = c
            when x
        """
    assert decided(dedent(text)) == dedent(text)
    assert decided("    set A when x\n      or y\n  set B when x\n  or y") == dedent("""\
        set A when x
            or y
        set B when x
            or y
        """)
    assert (
        decided("if smp {\n" + dedent(text) + "}")
        == "if smp {\n" + "".join(f"    {line}\n" for line in dedent(text).splitlines()) + "}\n"
    )


def test_tabs_are_columns() -> None:
    assert decided("\tset A\n\t\twhen x\n  \t    or y") == "set A\n        when x\n    or y\n"


def test_what_goes_on_is_not_put_anywhere() -> None:
    """Else many comments above it would make a text of any size."""
    spaces = " " * 80
    expected = f"set A\n{spaces}# why\n{spaces}# why\n{spaces}when x\n"
    assert decided(f"set A\n# why\n# why\n{' ' * 100_000}when x") == expected


def test_one_empty_line_stays() -> None:
    assert decided("\n\n# a\n\n\nset A\n\n\nset B\n\n\n# b\n\n") == "# a\n\nset A\n\nset B\n\n# b\n"


def test_comments_stay_where_they_are() -> None:
    text = """\
        # above

        backend b for i {  # behind the brace
            # inside
            a = nop  # one

            bcd = nop        # two
            c   = asm "x"    # first
                # between
              else keep  # second
            d =  # inside an arm
                nop
            # last
        }
        # the end
        """
    assert laid_out(dedent(text)) == dedent(text).replace("      else", "        else")
    assert laid_out("passes { a }# b") == "passes { a }  # b\n"


def test_strings_of_several_lines_are_left_alone() -> None:
    code = '"""\n  push eax  # kept\n\n\n\tpop eax \n"""'
    assert laid_out(f"chain c {{ asm {code}   when x }}") == f"chain c {{\n    asm {code}   when x\n}}\n"


# ---- spaces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("op a 2 * ( b+1 )*c - 3", "op a 2*(b + 1)*c - 3\n"),
        ("op a 1( eax ,edx )->eax,edx", "op a 1 (eax, edx) -> eax, edx\n"),
        ("op a 1 when(a or(b))and(not(c))", "op a 1 when (a or (b)) and (not (c))\n"),
        ("op a 1 when n!=1 and(m in 1..2,5)", "op a 1 when n != 1 and (m in 1 .. 2, 5)\n"),
        ("option a ,b:bool=true", "option a, b: bool = true\n"),
        ("option a : bool = true", "option a : bool = true\n"),
        ("op a 1 since 6.1.119", "op a 1 since 6.1.119\n"),
        ("op a\t\t1\t # why", "op a 1  # why\n"),
        ("registers{}", "registers { }\n"),
    ],
)
def test_signs(text: str, expected: str) -> None:
    assert body("interface i", text) == expected


def test_an_authors_columns_stay() -> None:
    ops = dedent("""\
        op a          1                          # first
        op long_name  2 + x  (eax)  len 6
        op b          3      -> eax  when   smp  # third
        """)
    assert body("interface i", ops) == ops


def test_calls_are_as_they_were() -> None:
    assert body("backend b for i", "a=ask(3)") == "a = ask(3)\n"
    assert body("test t", "a at 1 with ask(3)=x 5=>nops") == "a at 1 with ask(3) = x 5 => nops\n"


def test_no_keyword_is_taken_from_a_name() -> None:
    text = "nop  = call else  else when  when when\nwhen = keep\n"
    assert body("backend b for i", text) == text


# ---- long lines


def test_a_line_holds_120_columns() -> None:
    last = "n" * (120 - len("    protect a, b"))
    assert body("interface i", f"protect a, b{last}") == f"protect a, b{last}\n"
    assert body("interface i", f"protect a, bb{last}") == f"protect a,\n    bb{last}\n"
    assert body("interface i", f"protect a, b{last} # why") == f"protect a, b{last}  # why\n"


def test_a_long_guard_is_broken_by_depth() -> None:
    assert decided(f"set A      when {has(*'abcd')}") == f"set A\n    when {has(*'abcd')}\n"
    assert decided(f"set A when {has(*'abcde')}") == dedent(f"""\
        set A
            when {has("a")}
                and {has("b")}
                and {has("c")}
                and {has("d")}
                and {has("e")}
        """)
    assert decided(f"set A when {has(*'ab')} and ({has(*'cdef', word='or')}) and x") == dedent(f"""\
        set A
            when {has("a")}
                and {has("b")}
                and ({has("c")}
                    or {has("d")}
                    or {has("e")}
                    or {has("f")})
                and x
        """)


def test_lists_in_a_guard_stay_together() -> None:
    names = ", ".join("n" * 20 for _ in range(4))
    assert decided(f"set A when cpu vendor in {names} and cpu has {names}") == dedent(f"""\
        set A
            when cpu vendor in {names}
                and cpu has {names}
        """)


def test_a_guard_in_many_brackets_stays_on_the_page() -> None:
    guard = "".join(f"(x{depth} and {'y' * 120} or "[:-4] + " and " for depth in range(30)) + "z" + ")" * 30
    laid = decided(f"set A when {guard}")
    assert max(len(line) - len(line.lstrip()) for line in laid.splitlines()) == 80
    assert decided(laid) == laid


def test_a_long_guard_after_a_string_of_several_lines() -> None:
    asm = 'chain c {\n    asm """\n  push eax\n"""'
    name = "n" * (120 - len('"""  when  and x'))
    for text, expected in (
        (f"  when {name} and x", f"  when {name} and x"),
        (f"  when n{name} and x", f"  when n{name}\n        and x"),
    ):
        assert laid_out(f"{asm}{text}\n}}") == f"{asm}{expected}\n}}\n"


def test_a_long_head_goes_on_deeper_than_what_is_in_its_braces() -> None:
    assert decided(f"if {has(*'abcde')} {{ set A }}") == dedent(f"""\
        if {has("a")}
                and {has("b")}
                and {has("c")}
                and {has("d")}
                and {has("e")} {{
            set A
        }}
        """)


def test_a_long_head_after_a_brace_stays_there() -> None:
    assert decided(f"if x {{\nset A }} else if {has(*'ab')} and ({has(*'cde', word='or')}) {{ set A }}") == dedent(f"""\
        if x {{
            set A
        }} else if {has("a")}
                and {has("b")}
                and ({has(*"cde", word="or")}) {{
            set A
        }}
        """)
    assert decided(f"if x and ({has(*'cdefg', word='or')}) {{ set A }}") == dedent(f"""\
        if x
                and ({has("c")}
                    or {has("d")}
                    or {has("e")}
                    or {has("f")}
                    or {has("g")}) {{
            set A
        }}
        """)


def test_what_was_broken_by_hand_and_is_too_long_is_broken_within() -> None:
    assert decided(f"set A\n        when x\n        and ({has(*'abcde', word='or')})") == dedent(f"""\
        set A
                when x
                and ({has("a")}
                    or {has("b")}
                    or {has("c")}
                    or {has("d")}
                    or {has("e")})
        """)


def test_a_long_rule_is_broken_before_else_a_long_case_before_its_outcome() -> None:
    long = '"' + "mov eax, ebx; " * 5 + '"'
    assert body("backend b for i", f"a_name = asm {long} when p else keep when q else nop # why") == dedent(f"""\
        a_name = asm {long} when p
            else keep when q
            else nop  # why
        """)
    assert body("test t", f"a at 1 with b = 1, c = 2 => {long} nops {long}") == dedent(f"""\
        a at 1 with b = 1, c = 2
            => {long} nops {long}
        """)


def test_a_long_list_is_opened_then_broken_behind_commas() -> None:
    names = [f"a_name_of_30_columns_and_no_{n:02}" for n in range(4)]
    three = ", ".join([*names[:3], "a" * 16])
    assert laid_out(f"passes {{ {three} }}") == f"passes {{\n    {three}\n}}\n"
    inner = ",\n    ".join(names)
    assert laid_out(f"passes {{ {', '.join(names)} }}") == f"passes {{\n    {inner}\n}}\n"
    assert body("interface i", f"protect {', '.join(names)}") == f"protect {inner}\n"


def test_a_list_before_a_long_guard_is_opened_first() -> None:
    targets = f"targets a {{ b .. c }} when {has(*'abc')} and {'n' * 20}"
    assert body("backend b for i", targets) == targets.replace("{ b .. c }", "{\n    b .. c\n}") + "\n"


def test_entries_of_a_long_line_have_lines_of_their_own() -> None:
    names = ["n" * 40, "o" * 40, "p" * 40]
    expected = "".join(f'    {name} "*"\n' for name in names)
    for between in ("", "\n"):
        sites = " ".join(f'{name} "*"' for name in names)
        assert body("family f", f'sites "x" {{{between}{sites} }}') == f'sites "x" {{\n{expected}}}\n'
    table = "table a .. b {\naddr u32 a u8\n << 1 LONG u8 LONG u8 }".replace("LONG", "n" * 60)
    assert body("family f", table) == dedent("""\
        table a .. b {
            addr u32 a u8
                << 1
            LONG u8
            LONG u8
        }
        """).replace("LONG", "n" * 60)


def test_braces_in_braces_are_opened_only_as_far_as_needed() -> None:
    parameter, block = f'early_param "a" -> b list {{ "{"x" * 60}" }}', 'if smp { harmless "a" }'
    assert laid_out(f"cmdline {{ {block} }}") == f"cmdline {{ {block} }}\n"
    assert laid_out(f"cmdline {{ {parameter} {block} }}") == f"cmdline {{\n    {parameter}\n    {block}\n}}\n"
    names = ", ".join("n" * 18 for _ in range(5))
    assert decided(f"if smp {{ if up {{ set {names} }} }}") == f"if smp {{\n    if up {{ set {names} }}\n}}\n"


@pytest.mark.parametrize(
    "text",
    [
        " else ".join(f'bytes "90" when cpus == {number}' for number in range(500)),
        "\n else ".join(f'bytes "90" when cpus == {number}' for number in range(500)),
        "nop when " + "(" * 31 + " or ".join("(a and b)" for _ in range(1000)) + ")" + " and y)" * 30,
        "nop when " + " or ".join("(a and (b or (c and d)))" for _ in range(500)),
    ],
)
def test_a_long_line_is_looked_at_a_few_times(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0

    class Counted(Lines):
        def width(self, first: int, end: int) -> int:
            nonlocal looked
            looked += 1
            return super().width(first, end)

    monkeypatch.setattr("pvspec.lang.format.Lines", Counted)
    laid_out(f"backend b for i {{ o = {text} }}")
    assert looked < len(text.split())
