"""From lark's tree to ours: one method per grammar rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from lark import Token, Tree

from pvspec.lang import syntax as ast
from pvspec.lang.parse.each import with_word
from pvspec.lang.parse.limits import number
from pvspec.lang.source import Source, Span

T = TypeVar("T")
_Tree: TypeAlias = Tree[Token]
_Child: TypeAlias = _Tree | Token | None


class Builder:
    """One method per grammar rule: lark's tree in, a node of `syntax` out.

    `start`: the offset in the source that the tree's positions count from.
    """

    def __init__(self, source: Source, start: int = 0) -> None:
        self.source = source
        self.start = start

    def items(self, children: Iterable[_Child]) -> Iterator[Any]:
        """The nodes of these subtrees."""
        return (self.node(child) for child in children)

    def node(self, child: _Child) -> Any:
        """The node of one subtree or token; None stays None."""
        if child is None:
            return None
        if isinstance(child, Token):
            return _TOKENS[child.type](self, child)
        method: Callable[[_Tree], Any] = getattr(self, child.data)
        return method(child)

    def span(self, child: _Tree | Token) -> Span:
        """The span of a subtree or token."""
        if isinstance(child, Token):
            return Span(self.source, self.start + (child.start_pos or 0), self.start + (child.end_pos or 0))
        return Span(self.source, self.start + child.meta.start_pos, self.start + child.meta.end_pos)

    def parts(self, tree: _Tree) -> list[Any]:
        """The nodes of a subtree's children."""
        return [self.node(child) for child in tree.children]

    # tokens

    def name(self, token: Token) -> ast.Name:
        return ast.Name(self.span(token), str(token))

    def int_(self, token: Token) -> ast.Number:
        return ast.Number(self.span(token), number(str(token)))

    def text(self, token: Token) -> ast.Text:
        quote = 3 if token.type == "LONG_STRING" else 1
        span = self.span(token)
        inner = Span(self.source, span.start + quote, span.end - quote)
        return ast.Text(inner, str(token)[quote:-quote])

    def truth_value(self, token: Token) -> ast.Truth:
        return ast.Truth(self.span(token), token.type == "TRUE")

    # files and the machine

    def include(self, tree: _Tree) -> ast.Include:
        return ast.Include(self.span(tree), *self.parts(tree))

    def machine(self, tree: _Tree) -> ast.Machine:
        name, *items = self.parts(tree)
        choices = tuple(choice for item in items if isinstance(item, tuple) for choice in item)
        return ast.Machine(
            self.span(tree),
            name,
            _only(items, ast.Number),
            _only(items, ast.Feature),
            _only(items, ast.Nops),
            choices,
            _only(items, ast.TextRange),
        )

    def text_range(self, tree: _Tree) -> ast.TextRange:
        return ast.TextRange(self.span(tree), *self.parts(tree))

    def bits(self, tree: _Tree) -> ast.Number:
        number: ast.Number = self.node(tree.children[0])
        return number

    def feature(self, tree: _Tree) -> ast.Feature:
        name, number, shown, always = self.parts(tree)
        return ast.Feature(self.span(tree), name, number, shown, always is not None)

    def nops(self, tree: _Tree) -> ast.Nops:
        name, *entries, jumps = self.parts(tree)
        return ast.Nops(self.span(tree), name, tuple(entries), jumps is not None)

    def choose(self, tree: _Tree) -> tuple[ast.Choice, ...]:
        return tuple(self.parts(tree))

    def choice(self, tree: _Tree) -> ast.Choice:
        return ast.Choice(self.span(tree), *self.parts(tree))

    def policy(self, tree: _Tree) -> ast.Policy:
        machine, *decisions = self.parts(tree)
        return ast.Policy(self.span(tree), machine, tuple(decisions))

    def decision(self, tree: _Tree) -> ast.Decision:
        word, *names, guard = self.parts(tree)
        return ast.Decision(self.span(tree), word == "set", tuple(names), guard, None, False)

    def clear_listed(self, tree: _Tree) -> ast.Decision:
        numbers, listed = self.parts(tree)
        return ast.Decision(self.span(tree), False, (), None, listed, numbers is not None)

    # the interface

    def interface(self, tree: _Tree) -> ast.Interface:
        name, machine, *items = self.parts(tree)
        bits = tuple(bit for item in items if isinstance(item, tuple) for bit in item)
        return ast.Interface(
            self.span(tree),
            name,
            machine,
            _only(items, ast.Table),
            _only(items, ast.Number),
            _only(items, ast.Slot),
            _only(items, ast.Functions),
            bits,
            _only(items, ast.Option),
            _only(items, ast.Symbol),
            _only(items, ast.Protect),
            _only(items, ast.Op),
            _only(items, ast.Meaning),
        )

    def meaning(self, tree: _Tree) -> ast.Meaning:
        parts = self.parts(tree)
        code = next(iter(_only(parts, ast.Asm)), None)
        return ast.Meaning(self.span(tree), _only(parts, ast.Name), code, _only(parts, ast.Effect))

    def effect(self, tree: _Tree) -> ast.Effect:
        return ast.Effect(self.span(tree), *self.parts(tree))

    def part(self, tree: _Tree) -> ast.Part:
        return ast.Part(self.span(tree), *self.parts(tree))

    def table(self, tree: _Tree) -> ast.Table:
        place, padded, *fields = self.parts(tree)
        section, bounds = place if isinstance(place, tuple) else (place, None)
        return ast.Table(self.span(tree), section, bounds, padded is not None, tuple(fields))

    def bounds(self, tree: _Tree) -> tuple[ast.Text, tuple[ast.Name, ast.Name]]:
        first, last = self.parts(tree)
        return ast.Text(self.span(tree), f"{first.text} .. {last.text}"), (first, last)

    def value_field(self, tree: _Tree) -> ast.Field:
        return ast.Field(self.span(tree), *self.parts(tree))

    def pad_field(self, tree: _Tree) -> ast.Field:
        count = self.node(tree.children[0])
        return ast.Field(self.span(tree), None, ast.Name(count.span, f"pad{count.value}"), None)

    def max_len(self, tree: _Tree) -> ast.Number:
        return self.bits(tree)

    def slot(self, tree: _Tree) -> ast.Slot:
        return ast.Slot(self.span(tree), *self.parts(tree))

    def functions(self, tree: _Tree) -> ast.Functions:
        return ast.Functions(self.span(tree), *self.parts(tree))

    def clobbers(self, tree: _Tree) -> tuple[ast.ClobberBit, ...]:
        return tuple(self.parts(tree))

    def clobber_bit(self, tree: _Tree) -> ast.ClobberBit:
        return ast.ClobberBit(self.span(tree), *self.parts(tree))

    def option(self, tree: _Tree) -> ast.Option:
        *names, default = self.parts(tree)
        return ast.Option(self.span(tree), tuple(names), default)

    def symbol(self, tree: _Tree) -> ast.Symbol:
        *names, clobbers = self.parts(tree)
        return ast.Symbol(self.span(tree), tuple(names), clobbers)

    def protect(self, tree: _Tree) -> ast.Protect:
        return ast.Protect(self.span(tree), tuple(self.parts(tree)))

    def op(self, tree: _Tree) -> ast.Op:
        name, number, (inputs, results, clobbers), (noreturn, length, guard) = self.parts(tree)
        return ast.Op(
            self.span(tree),
            name,
            number,
            inputs or (),
            results or (),
            clobbers or (),
            noreturn is not None,
            length,
            guard,
        )

    def contract(self, tree: _Tree) -> tuple[Any, ...]:
        return tuple(self.parts(tree))

    sites = contract

    def names(self, tree: _Tree) -> tuple[ast.Name, ...]:
        return tuple(self.parts(tree))

    inputs = results = names

    # rules

    def chain_def(self, tree: _Tree) -> ast.Chain:
        name, *items = self.parts(tree)
        items = _flat(items)
        return ast.Chain(self.span(tree), name, _only(items, ast.Arm), _only(items, ast.Symbol))

    def backend(self, tree: _Tree) -> ast.Backend:
        name, interface, *items = self.parts(tree)
        return ast.Backend(
            self.span(tree),
            name,
            interface,
            _only(items, ast.Option),
            _only(items, ast.Symbol),
            _only(items, ast.Rom),
            _only(items, ast.Target),
            _only(items, ast.Rule),
            _only(items, ast.Otherwise),
            _only(items, ast.Shadow),
        )

    def target(self, tree: _Tree) -> ast.Target:
        *ops, symbol, guard = self.parts(tree)
        return ast.Target(self.span(tree), tuple((op, None) for op in ops), symbol, False, guard)

    def targets(self, tree: _Tree) -> ast.Target:
        symbol, *ops, guard = self.parts(tree)
        return ast.Target(self.span(tree), tuple(ops), symbol, True, guard)

    def op_range(self, tree: _Tree) -> tuple[ast.Name, ast.Name | None]:
        first, last = self.parts(tree)
        return first, last

    def kept(self, tree: _Tree) -> ast.Shadow:
        return ast.Shadow(self.span(tree), *self.parts(tree))

    def is_number(self, tree: _Tree) -> ast.Holds:
        return ast.Holds(self.span(tree), self.node(tree.children[0]), False)

    def has_bits(self, tree: _Tree) -> ast.Holds:
        return ast.Holds(self.span(tree), self.node(tree.children[0]), True)

    def rule(self, tree: _Tree) -> ast.Rule:
        *ops, arms = self.parts(tree)
        return ast.Rule(self.span(tree), tuple(ops), arms)

    def otherwise(self, tree: _Tree) -> ast.Otherwise:
        return ast.Otherwise(self.span(tree), *self.parts(tree))

    def chain(self, tree: _Tree) -> tuple[ast.Arm, ...]:
        return tuple(self.parts(tree))

    def arm(self, tree: _Tree) -> ast.Arm:
        action, clobbers, guard = self.parts(tree)
        return ast.Arm(self.span(tree), action, clobbers or (), guard)

    def asm(self, tree: _Tree) -> ast.Asm:
        return ast.Asm(self.span(tree), *self.parts(tree))

    def bytes(self, tree: _Tree) -> ast.Bytes:
        return ast.Bytes(self.span(tree), *self.parts(tree))

    def each(self, tree: _Tree) -> list[ast.Arm | ast.Symbol]:
        word, names, *items = self.parts(tree)
        return [with_word(item, word.text, name.text) for name in names for item in items]

    def call(self, tree: _Tree) -> ast.Branch:
        prefix, target, sign, count = self.parts(tree)
        return ast.Branch(self.span(tree), "call", target, _addend(sign, count), prefix is not None, False)

    def jmp(self, tree: _Tree) -> ast.Branch:
        prefix, short, target, sign, count = self.parts(tree)
        addend = _addend(sign, count)
        return ast.Branch(self.span(tree), "jmp", target, addend, prefix is not None, short is not None)

    def aim(self, tree: _Tree) -> ast.Aim:
        return ast.Aim(self.span(tree), *self.parts(tree))

    def store(self, tree: _Tree) -> ast.Store:
        return ast.Store(self.span(tree), *self.parts(tree))

    def nop(self, tree: _Tree) -> ast.Nop:
        return ast.Nop(self.span(tree))

    def keep(self, tree: _Tree) -> ast.Keep:
        return ast.Keep(self.span(tree))

    def bug(self, tree: _Tree) -> ast.Bug:
        return ast.Bug(self.span(tree), *self.parts(tree))

    def copy(self, tree: _Tree) -> ast.Copy:
        address, size, relocated, throughout = self.parts(tree)
        return ast.Copy(self.span(tree), address, size, relocated is not None, throughout is not None)

    def chain_ref(self, tree: _Tree) -> ast.ChainRef:
        return ast.ChainRef(self.span(tree), *self.parts(tree))

    def query(self, tree: _Tree) -> ast.Query:
        return ast.Query(self.span(tree), *self.parts(tree))

    def rom(self, tree: _Tree) -> ast.Rom:
        name, parameter, type_, *rest, otherwise = self.parts(tree)
        return ast.Rom(
            self.span(tree), name, parameter, type_, _only(rest, ast.Field), _only(rest, ast.Answer), otherwise
        )

    def answer(self, tree: _Tree) -> ast.Answer:
        return ast.Answer(self.span(tree), *self.parts(tree))

    # guards

    def any_of(self, tree: _Tree) -> ast.Guard:
        parts = tuple(self.parts(tree))
        guard: ast.Guard = parts[0] if len(parts) == 1 else ast.AnyOf(self.span(tree), parts)
        return guard

    def all_of(self, tree: _Tree) -> ast.Guard:
        parts = tuple(self.parts(tree))
        guard: ast.Guard = parts[0] if len(parts) == 1 else ast.AllOf(self.span(tree), parts)
        return guard

    def negated(self, tree: _Tree) -> ast.Not:
        return ast.Not(self.span(tree), *self.parts(tree))

    def target_is(self, tree: _Tree) -> ast.TargetIs:
        return ast.TargetIs(self.span(tree), *self.parts(tree))

    def op_noreturn(self, tree: _Tree) -> ast.OpNoreturn:
        return ast.OpNoreturn(self.span(tree))

    def cpu_has(self, tree: _Tree) -> ast.CpuHas:
        return ast.CpuHas(self.span(tree), self.node(tree.children[1]))

    def kernel_has(self, tree: _Tree) -> ast.KernelHas:
        return ast.KernelHas(self.span(tree), self.node(tree.children[1]))

    def vulnerability(self, tree: _Tree) -> ast.Vulnerability:
        return ast.Vulnerability(self.span(tree), *self.parts(tree))

    def op_target(self, tree: _Tree) -> ast.OpTargetIs:
        return ast.OpTargetIs(self.span(tree), *self.parts(tree))

    def cpu_vendor(self, tree: _Tree) -> ast.CpuVendor:
        return ast.CpuVendor(self.span(tree), *self.parts(tree))

    def cpu_number(self, tree: _Tree) -> ast.CpuNumber:
        return ast.CpuNumber(self.span(tree), *self.parts(tree))

    def cpus(self, tree: _Tree) -> ast.Cpus:
        return ast.Cpus(self.span(tree), *self.parts(tree))

    def cmdline(self, tree: _Tree) -> ast.Cmdline:
        return ast.Cmdline(self.span(tree), self.node(tree.children[1]))

    def backend_is(self, tree: _Tree) -> ast.BackendIs:
        return ast.BackendIs(self.span(tree), *self.parts(tree))

    def nops_is(self, tree: _Tree) -> ast.NopsIs:
        return ast.NopsIs(self.span(tree), *self.parts(tree))

    def within(self, tree: _Tree) -> ast.Within:
        return ast.Within(self.span(tree), *self.parts(tree))

    def branches(self, tree: _Tree) -> ast.Branches:
        _, prefix, mnemonic, *short, name = self.parts(tree)
        return ast.Branches(self.span(tree), prefix is not None, mnemonic, any(short), name)

    def begins(self, tree: _Tree) -> ast.Begins:
        name, sign, count, _, code = self.parts(tree)
        return ast.Begins(self.span(tree), name, _addend(sign, count), code)

    def compares(self, tree: _Tree) -> ast.Compares:
        return ast.Compares(self.span(tree), *self.parts(tree))

    def bits_of(self, tree: _Tree) -> ast.BitsOf:
        name, sign, count, mask = self.parts(tree)
        return ast.BitsOf(self.span(tree), name, _addend(sign, count), mask)

    def is_symbol(self, tree: _Tree) -> ast.IsSymbol:
        return ast.IsSymbol(self.span(tree), *self.parts(tree))

    def truth(self, tree: _Tree) -> ast.IsTrue:
        return ast.IsTrue(self.span(tree), *self.parts(tree))

    # families and passes

    def family(self, tree: _Tree) -> ast.Family:
        name, machine, *items = self.parts(tree)
        items = _flat(items)
        return ast.Family(
            self.span(tree),
            name,
            machine,
            _only(items, ast.Table),
            _only(items, ast.SitesOf),
            _only(items, ast.SiteAt),
            _only(items, ast.SiteLen),
            _only(items, ast.Stacked),
            _only(items, ast.Relaid),
            _only(items, ast.Read),
            _only(items, ast.Option),
            _only(items, ast.Symbol),
            _only(items, ast.Protect),
            _only(items, ast.Arm),
        )

    def sites_of(self, tree: _Tree) -> ast.SitesOf:
        pattern, *fields = self.parts(tree)
        return ast.SitesOf(self.span(tree), pattern, tuple(zip(fields[::2], fields[1::2], strict=True)))

    def site_at(self, tree: _Tree) -> ast.SiteAt:
        name, sign, count = self.parts(tree)
        return ast.SiteAt(self.span(tree), name, _addend(sign, count))

    def site_len(self, tree: _Tree) -> ast.SiteLen:
        value = self.node(tree.children[0])
        return ast.SiteLen(self.span(tree), value if isinstance(value, ast.Number) else None)

    def stacked(self, tree: _Tree) -> ast.Stacked:
        return ast.Stacked(self.span(tree), tree.children[0] is not None)

    def relaid(self, tree: _Tree) -> ast.Relaid:
        return ast.Relaid(self.span(tree), tree.children[0] is not None)

    def reads(self, tree: _Tree) -> ast.Read:
        name, type_, base, sign, count, built = self.parts(tree)
        return ast.Read(self.span(tree), name, type_, base, _addend(sign, count), built is not None)

    def passes(self, tree: _Tree) -> ast.Passes:
        return ast.Passes(self.span(tree), tuple(self.parts(tree)))

    # tests

    def test(self, tree: _Tree) -> ast.Test:
        name, *cases = self.parts(tree)
        return ast.Test(self.span(tree), name, tuple(cases))

    def case(self, tree: _Tree) -> ast.Case:
        op, address, *rest = self.parts(tree)
        return ast.Case(
            self.span(tree),
            op,
            address,
            _only(rest, ast.Number),
            tuple(item for item in rest if isinstance(item, tuple)),
            _only(rest, ast.Text),
            _only(rest, ast.Memory),
            _only(rest, ast.FieldValue),
            _only(rest, ast.Setting),
            _only(rest, ast.Want),
        )

    def case_len(self, tree: _Tree) -> ast.Number:
        return self.bits(tree)

    def case_clobber(self, tree: _Tree) -> tuple[ast.Name, ...]:
        clobbers: tuple[ast.Name, ...] = self.node(tree.children[0])
        return clobbers

    def case_original(self, tree: _Tree) -> ast.Text:
        text: ast.Text = self.node(tree.children[0])
        return text

    def case_memory(self, tree: _Tree) -> ast.Memory:
        contents, address = self.parts(tree)
        return ast.Memory(self.span(tree), contents, address, False)

    def case_state(self, tree: _Tree) -> ast.Memory:
        contents, address = self.parts(tree)
        return ast.Memory(self.span(tree), contents, address, True)

    def case_field(self, tree: _Tree) -> ast.FieldValue:
        return ast.FieldValue(self.span(tree), *self.parts(tree))

    case_bytes = case_field

    def _setting(self, tree: _Tree) -> ast.Setting:
        kind = tree.data.removeprefix("set_")
        parts = self.parts(tree)
        if kind == "family":  # family, model or stepping
            kind = parts.pop(0)
        parts = [part for part in parts if part != "has"]
        name = parts.pop(0) if isinstance(parts[0], ast.Name) else None
        return ast.Setting(self.span(tree), kind, name, tuple(part for part in parts if part is not None))

    set_number = set_truth = set_nops = set_cpu = set_vendor = set_family = set_cpus = _setting
    set_cmdline = set_vulnerability = set_backend = set_answer = set_extent = set_symbol = _setting

    def _want(self, tree: _Tree) -> ast.Want:
        kind = tree.data.removeprefix("want_")
        return ast.Want(self.span(tree), kind, self.node(tree.children[0]) if tree.children else None)

    want_bytes = want_asm = want_call = want_jmp = want_nops = want_keep = want_bug = _want

    # numbers

    def expr(self, tree: _Tree) -> ast.Sum:
        first, *rest = self.parts(tree)
        signed = zip(rest[::2], rest[1::2], strict=True)
        return ast.Sum(self.span(tree), ((1, first), *((-1 if sign == "-" else 1, part) for sign, part in signed)))

    def product(self, tree: _Tree) -> ast.Product:
        return ast.Product(self.span(tree), tuple(self.parts(tree)))


_WORDS = """
    SIGN ALWAYS JUMPS SET CLEAR CALL JMP SHORT CS PADDED STACKED LONGEST NORETURN RELOCATED THROUGHOUT INSTRUCTION
    COMPARE CPU_NUMBER BEGINS HAS NUMBERS BUILT
"""
_TOKENS: dict[str, Callable[[Builder, Token], Any]] = {
    "NAME": Builder.name,
    "SITE": Builder.name,
    "TYPE": Builder.name,
    "READ_TYPE": Builder.name,
    "BRANCH": Builder.name,
    "INT": Builder.int_,
    "STRING": Builder.text,
    "LONG_STRING": Builder.text,
    "TRUE": Builder.truth_value,
    "FALSE": Builder.truth_value,
    **dict.fromkeys(_WORDS.split(), lambda builder, token: str(token)),
}


def _addend(sign: str | None, count: ast.Number | None) -> int:
    if count is None:
        return 0
    return -count.value if sign == "-" else count.value


def _flat(items: Iterable[Any]) -> list[Any]:
    """The items, with those of `each` in its place."""
    return [part for item in items for part in (item if isinstance(item, list) else [item])]


def _only(items: Sequence[Any], kind: type[T]) -> tuple[T, ...]:
    return tuple(item for item in items if isinstance(item, kind))
