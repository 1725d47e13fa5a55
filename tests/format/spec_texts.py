"""Random specs: well-formed tokens, with any spaces, line ends and comments between them."""

from __future__ import annotations

from hypothesis import strategies as st

Tokens = list[str]
Strategy = st.SearchStrategy[Tokens]

# Keywords are names, too, where the grammar expects a name and nothing else.
NAME = st.sampled_from(["a", "eax", "irq_enable_sysexit", "nop", "else", "with", "thunk_$reg", "n" * 40])
OP = st.sampled_from(["clts", "pte_val", "irq_enable_sysexit", "write_cr3", "n" * 35])
INT = st.sampled_from(["0", "7", "0xc0101000", "18446744073709551615"])
STRING = st.sampled_from(['""', '"90"', '"# no  comment"', '"{ ,( }"', '"' + "66 " * 20 + '"', '"' + "x" * 120 + '"'])
LONG = st.sampled_from(['"""\n    push eax  # kept\n\n  l:\n"""', '"""a"""', '"""\n' + " " * 40 + 'x\n"""'])
TYPE = st.sampled_from(["u8", "u32", "rel32"])


def seq(*parts: str | st.SearchStrategy[str] | Strategy) -> Strategy:
    """These tokens one after the other."""
    strategies = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*strategies).map(lambda found: [t for p in found for t in ([p] if isinstance(p, str) else p)])


def many(part: Strategy, least: int = 0, most: int = 5) -> Strategy:
    return st.lists(part, min_size=least, max_size=most).map(lambda parts: [t for p in parts for t in p])


def maybe(*parts: str | st.SearchStrategy[str] | Strategy) -> Strategy:
    return st.one_of(st.just([]), seq(*parts))


def separated(part: Strategy, word: str, most: int = 4) -> Strategy:
    return seq(part, many(seq(word, part), most=most))


VERSION = st.sampled_from(["5.10", "6.1.119", "6.16"])
ONLY = many(st.one_of(seq("since", VERSION), seq("before", VERSION), seq("on", NAME)), most=2)
NAMES = separated(seq(NAME), ",")
OPS = separated(seq(OP), ",", most=8)
RANGES_OF_NUMBERS = separated(seq(INT, maybe("..", INT)), ",")
EXPR: Strategy = st.recursive(
    st.one_of(seq(INT), seq(OP)),
    lambda inner: st.one_of(
        seq(inner, "+", inner), seq(inner, "*", inner), seq("(", inner, ")"), seq(inner, "-", inner)
    ),
    max_leaves=4,
)
TERMS = (
    *(["target", "is", "null"], ["op", "is", "not", "noreturn"], ["cpu", "has", "K8"], ["cpus", "!=", "1"]),
    *(["site", "within", "_text", "..", "_etext"], ["len", "==", "255"], ["smp"], ["since", "6.2"], ["on", "x86_64"]),
    *(["target", "of", "clts", "in", "a", ",", "b"], ["cpu", "vendor", "is", "intel"], ["cpu", "model", ">=", "85"]),
    *(["cpus", "<", "8"], ["config", "SMP"], ["kernel", "has", "any", "its_thunk", ",", "b"], ["backend", "is", "xen"]),
    *(["nops", "is", "p6"], ["vulnerability", "retbleed", "starts", '"Mitigation"'], ["key", "&", "1"]),
    *(["vulnerability", "retbleed", "contains", '"IBPB"'], ["site", "+", "2", "&", "0x20"], ["key", "is", "null"]),
    *(["site", "is", "cs", "call", "thunk"], ["site", "is", "jmp", "thunk"], ["site", "begins", '"f3 90"']),
    *(["function", "-", "9", "begins", '"65 48"'], ["enabled", "<=", "0"], ["function", "within", "a", "..", "b"]),
)
GUARD: Strategy = st.recursive(
    st.one_of(st.sampled_from(TERMS), seq("cpu", "family", "in", RANGES_OF_NUMBERS)),
    lambda inner: st.one_of(
        seq("(", inner, ")"),
        seq("(", inner, ")", "and", "(", inner, ")"),
        seq("(", inner, ")", "or", "not", "(", inner, ")"),
    ),
    max_leaves=6,
)
WHEN = seq(ONLY, maybe("when", GUARD))
CODE = st.one_of(STRING, LONG)
ADDEND = maybe(st.sampled_from(["+", "-"]), INT)
ACTION = st.one_of(
    *(seq("asm", CODE), seq("bytes", CODE), seq("call", NAME), seq("jmp", NAME), seq("nop"), seq("keep")),
    *(seq("bug", STRING), seq("copy", OP, OP, maybe("relocated", maybe("throughout"))), seq(OP, "(", INT, ")")),
    *(seq(OP), seq(maybe("cs"), "call", NAME, ADDEND), seq(maybe("cs"), "jmp", maybe("short"), NAME, ADDEND)),
    seq("store", OP),
)
ARM = seq(ACTION, maybe("clobbers", NAMES), WHEN)
CHAIN = separated(ARM, "else")
FIELDS = many(st.one_of(seq(OP, TYPE, maybe("<<", INT), ONLY), seq("pad", INT)), least=1, most=12)
BOUNDS = seq(st.one_of(seq(STRING), seq(OP, "..", OP)))
TABLE = seq("table", BOUNDS, maybe("padded"), ONLY, "{", FIELDS, "}")
OPTION = seq("option", OPS, ":", "bool", "=", st.sampled_from(["true", "false"]))
SYMBOL = seq("symbol", OPS, maybe("clobbers", NAMES), ONLY)
PROTECT = seq("protect", OPS)
OTHERWISE = seq("otherwise", "=", CHAIN)
ROM = seq(
    *("rom", OP, "(", OP, TYPE, ")", "{", "returns", "{", FIELDS, "}"),
    *(many(seq(INT, OP, "=", CHAIN)), OTHERWISE, "}"),
)
NOPS = seq("nops", OP, "{", many(seq(STRING), least=1, most=9), "}", maybe("jumps"), ONLY)
FEATURE = seq("feature", NAME, maybe(EXPR), maybe(STRING), maybe("always"), ONLY)
EACH = seq("each", "reg", "in", NAMES, "{", many(st.one_of(ARM, ARM, SYMBOL), least=1, most=3), "}")
PART_OF = seq(OP, maybe("bit", INT))
MEANING = seq(
    *("means", OPS, ":"),
    st.one_of(seq("asm", CODE), separated(seq(PART_OF, "=", st.one_of(PART_OF, seq(INT))), ",")),
)
KEPT = seq("keeps", OP, "in", STRING, st.sampled_from(["==", "&"]), INT, WHEN)
RANGES = separated(seq(OP, maybe("..", maybe(OP))), ",")
TARGET = st.one_of(seq("target", OPS, "=", OP, WHEN), seq("targets", OP, "{", RANGES, "}", WHEN))
SITES = seq("sites", STRING, "{", many(seq(OP, STRING), most=3), "}")
READS = seq("reads", OP, st.sampled_from(["u8", "s32", "u64", "branch"]), "at", OP, ADDEND)
PLACE = st.one_of(
    *(seq("site", OP, ADDEND), seq("len", INT), seq("len", "instruction"), seq("stacked", maybe("longest"))),
    *(seq("nops", "relaid", maybe("throughout")), READS, READS),
)
CHOOSE = seq("choose", "nops", separated(seq(NAME, WHEN), "else"))
OPERATION = seq(
    *("op", NAME, EXPR, maybe("(", NAMES, ")"), maybe("->", NAMES), maybe("clobbers", NAMES)),
    *(maybe("noreturn"), maybe("len", INT), WHEN),
)
SETTING = st.one_of(
    *(seq(OP, "=", INT), seq(OP, "=", "true"), seq("nops", "=", OP), seq("cpu", "has", OP), seq("cpus", "=", INT)),
    *(seq(OP, "(", INT, ")", "=", st.one_of(OP, INT), maybe(INT)), seq(OP, "=", INT, "..", INT)),
    *(seq("cpu", "vendor", "=", OP), seq("cpu", "stepping", "=", INT), seq("cmdline", "=", STRING)),
    seq("backend", "=", OP),
)
WANT = st.one_of(
    *(seq(STRING), seq("asm", CODE), seq("call", INT), seq("nops"), seq("keep"), seq("bug", STRING), seq("jmp", INT))
)
PART = st.one_of(
    *(seq("len", INT), seq("clobbers", NAMES), seq("original", STRING)),
    *(seq(OP, INT), seq(OP, OP), seq(OP, STRING, "at", INT), seq("memory", STRING, "at", INT)),
)
CASE = seq(maybe(OP), "at", INT, many(PART), maybe("with", separated(SETTING, ",")), "=>", many(WANT, least=1, most=3))
ASSIGNMENTS = separated(seq(OP, "=", st.one_of(OP, INT)), ",")
VALUE = seq(STRING, ONLY, maybe("->", ASSIGNMENTS))
PARAMETER = seq(
    st.sampled_from(["early_param", "setup", "find_option", "find_option_bool"]),
    STRING,
    st.one_of(
        seq(maybe("->", OP), maybe("list"), ONLY, "{", many(VALUE, most=9), "}"),
        seq("->", ASSIGNMENTS, ONLY),
        seq("->", OP, "number", ONLY),
        seq("features", ONLY),
    ),
)
STEP = st.one_of(
    *(seq("let", OP, "=", GUARD), seq(st.sampled_from(["set", "clear"]), NAMES, WHEN), seq(OP, "=", OP, WHEN)),
    *(seq("clear", "listed", maybe("numbers"), STRING, ONLY), seq("open", NAMES, "from", STRING, WHEN)),
)


def blocks(kind: Strategy) -> Strategy:
    """Such constructs, some of them in blocks with a guard."""
    return st.recursive(
        kind,
        lambda inner: seq(
            *("if", GUARD, "{", many(inner, most=3), "}"),
            many(seq("else", "if", GUARD, "{", many(inner, most=2), "}"), most=2),
            maybe("else", "{", many(inner, most=2), "}"),
        ),
        max_leaves=4,
    )


def body(*kinds: Strategy) -> Strategy:
    return seq("{", many(blocks(st.one_of(*kinds)), most=8), "}")


ITEM = st.one_of(
    *(
        seq("include", STRING),
        seq("config", OP, "=", GUARD, ONLY),
        seq("kernels", separated(seq(VERSION), ","), maybe("on", NAME)),
    ),
    seq("machine", OPS, body(seq("bits", INT), FEATURE, FEATURE, NOPS, CHOOSE, seq("text", INT, "..", INT))),
    seq(
        *("cmdline", ONLY),
        body(
            *(PARAMETER, PARAMETER, seq("variable", OP, "=", OP, "{", NAMES, "}"), seq("variable", OP, "=", INT)),
            seq("harmless", separated(seq(STRING), ",")),
        ),
    ),
    seq("decide", OP, "in", STRING, ONLY, body(STEP)),
    seq("policy", "{", separated(seq(OP, ONLY), ","), "}"),
    seq(
        *("interface", OP),
        body(
            *(TABLE, seq("max_len", INT), seq("slot", STRING, TYPE), OPTION, SYMBOL, PROTECT, OPERATION, OPERATION),
            *(seq("registers", "{", many(seq(OP, INT)), "}"), seq("functions", OP), MEANING),
        ),
    ),
    seq("chain", OP, "{", many(st.one_of(ARM, ARM, EACH), least=1), "}"),
    seq("backend", OP, "for", OP, body(OPTION, SYMBOL, ROM, KEPT, TARGET, OTHERWISE, seq(OPS, "=", CHAIN))),
    seq("family", OP, body(TABLE, SITES, PLACE, PLACE, OPTION, SYMBOL, PROTECT, ARM, ARM, EACH)),
    seq("passes", "{", OPS, "}"),
    seq("test", OP, body(CASE)),
)

SPACE = st.sampled_from([" "] * 12 + ["\t ", "\n", "\n\n\n", "\r\n", " # why\n", "\n# own line\n", "#\n\n # b \n"])


@st.composite
def spec_texts(draw: st.DrawFn) -> str:
    """The text of a spec that parses."""
    tokens = draw(many(ITEM, most=3))
    spaces = draw(st.lists(SPACE, min_size=len(tokens) + 1, max_size=len(tokens) + 1))
    return spaces[0].lstrip(" ") + "".join(t + s for t, s in zip(tokens, spaces[1:], strict=True))
