"""From lark's tree to ours: one method per grammar rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

from lark import Token, Tree

from pvspec.lang import syntax as ast
from pvspec.lang.diagnostics import Diagnostic, Label
from pvspec.lang.parse.each import with_word
from pvspec.lang.parse.limits import number
from pvspec.lang.source import Source, Span
from pvspec.lang.target import Target

T = TypeVar("T")
_Tree: TypeAlias = Tree[Token]
_Child: TypeAlias = _Tree | Token | None


class Builder:
    """One method per grammar rule: lark's tree in, a node of `syntax` out.

    What is not for the kernel `target` is left out, and what guards ask of it is decided. A method returns a list for
    a construct that may become none, or several. `start`: the offset in the source that the tree's positions count
    from.
    """

    def __init__(self, source: Source, target: Target, start: int = 0) -> None:
        self.source = source
        self.chosen = target
        self.start = start
        self.found: list[Diagnostic] = []
        """What no grammar tells."""
        self.versions: list[ast.Version] = []
        self.machines: list[ast.Name] = []
        """What conditions ask for, decided or not."""
        self.left_out: list[Span] = []
        """What is not for this kernel."""

    def items(self, children: Iterable[_Child]) -> Iterator[Any]:
        """The nodes of these subtrees, for this kernel."""
        for child in children:
            if isinstance(child, Tree) and not self._is_meant(child):
                yield from self._leave_out([child])
                continue
            node = self.node(child)
            yield from node if isinstance(node, list) else [node]
            if node == [] and isinstance(child, Tree):
                self.left_out.append(self.span(child))

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
        return list(self.items(child for child in tree.children if getattr(child, "data", None) != "only"))

    # ---- for which kernel

    def _is_meant(self, tree: _Tree) -> bool:
        """Whether a construct is for this kernel, by what is written behind it."""
        last = next((child for child in tree.children if isinstance(child, Tree) and child.data == "only"), None)
        return last is None or all([self.node(condition) for condition in last.children])

    def since(self, tree: _Tree) -> bool:
        version: ast.Version = self.node(tree.children[0])
        self.versions.append(version)
        return self.chosen.is_since(version.numbers)

    def before(self, tree: _Tree) -> bool:
        return not self.since(tree)

    def on_machine(self, tree: _Tree) -> bool:
        name: ast.Name = self.node(tree.children[0])
        self.machines.append(name)
        return self.chosen.machine in (None, name.text)

    def version(self, token: Token) -> ast.Version:
        return ast.Version(self.span(token), tuple(map(int, token.split("."))))

    def kernels(self, tree: _Tree) -> ast.Kernels:
        parts = self.parts(tree)
        return ast.Kernels(self.span(tree), _only(parts, ast.Version), _only(parts, ast.Name))

    def conditional(self, tree: _Tree) -> list[Any]:
        """What is in the block whose guard holds; as far as its guard is left, it becomes a part of theirs."""
        condition, *items, alternative = tree.children
        guard: ast.Guard | bool = self.node(condition)
        then = list(self.items(items) if guard is not False else self._leave_out(items))
        rest = [] if alternative is None else [alternative]
        otherwise = list(self.items(rest) if guard is not True else self._leave_out(rest))
        if isinstance(guard, bool):
            return [*then, *otherwise]
        if any(isinstance(item, ast.Step) for item in (*then, *otherwise)):
            return [ast.Conditional(self.span(tree), guard, tuple(then), tuple(otherwise))]
        unless = ast.Not(guard.span, guard)
        return [*(self._guarded(item, guard) for item in then), *(self._guarded(item, unless) for item in otherwise)]

    def alternative(self, tree: _Tree) -> list[Any]:
        return self.parts(tree)

    def _leave_out(self, children: Sequence[_Tree | Token]) -> Iterator[ast.Elsewhere]:
        self.left_out += map(self.span, children)
        return self._elsewhere(children)

    def _elsewhere(self, children: Iterable[_Child]) -> Iterator[ast.Elsewhere]:
        """The functions in what is not for this kernel: their order may be told all the same."""
        for child in children:
            if isinstance(child, Tree) and child.data in ("conditional", "alternative"):
                yield from self._elsewhere(child.children)
            elif isinstance(child, Tree) and child.data == "decide":
                yield ast.Elsewhere(self.span(child), self.node(child.children[0]))

    def _guarded(self, item: Any, guard: ast.Guard) -> Any:
        if isinstance(item, ast.Rule | ast.Otherwise):
            return item.changed(arms=tuple(self._guarded(arm, guard) for arm in item.arms))
        if not isinstance(item, ast.Arm | ast.Target | ast.Shadow | ast.Op):
            self._undecided(item, guard)
            return item
        both = guard if item.guard is None else ast.AllOf(item.guard.span, (guard, item.guard))
        return item.changed(guard=both)

    def _undecided(self, item: Any, guard: ast.Guard) -> None:
        asked = Label(guard.span, "a kernel's version and its machine decide what is declared; this is known later")
        inside = [Label(item.span, "this cannot depend on it")] if isinstance(item, ast.Node) else []
        help = "write the guard behind what may depend on it: arms, targets and steps"
        message = "a block of declarations asks for more than the kernel's version and machine"
        self.found.append(Diagnostic("PV305", message, (asked, *inside), help=help))

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

    def machine(self, tree: _Tree) -> ast.Machine | list[ast.Machine]:
        parts = self.parts(tree)
        names = _only(parts, ast.Name)
        items = parts[len(names) :]
        if self.chosen.machine not in (None, *(name.text for name in names)):
            return []
        choices = tuple(choice for item in items if isinstance(item, tuple) for choice in item)
        return ast.Machine(
            self.span(tree),
            names,
            _only(items, ast.Number),
            _only(items, ast.Feature),
            _only(items, ast.Nops),
            choices,
            _only(items, ast.TextRange),
            _only(items, ast.Constant),
        )

    def text_range(self, tree: _Tree) -> ast.TextRange:
        return ast.TextRange(self.span(tree), *self.parts(tree))

    def constant(self, tree: _Tree) -> ast.Constant:
        return ast.Constant(self.span(tree), *self.parts(tree))

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

    def choice(self, tree: _Tree) -> ast.Choice | list[ast.Choice]:
        name, guard = self.parts(tree)
        return _when(guard, lambda left: ast.Choice(self.span(tree), name, left))

    def config(self, tree: _Tree) -> ast.Config:
        return ast.Config(self.span(tree), *self.parts(tree))

    # the command line

    def cmdline(self, tree: _Tree) -> ast.CommandLine:
        items = self.parts(tree)
        return ast.CommandLine(
            self.span(tree), _only(items, ast.Variable), _only(items, ast.Parameter), _only(items, ast.Harmless)
        )

    def variable(self, tree: _Tree) -> list[ast.Variable]:
        names, default, *values = self.parts(tree)
        return [ast.Variable(name.span, name, default, tuple(values)) for name in names]

    def parameter(self, tree: _Tree) -> ast.Parameter:
        parser, word, variable, listed, *values = self.parts(tree)
        kind = "values" if listed is None else "list"
        return ast.Parameter(self.span(tree), parser, word, kind, variable, tuple(values), ())

    def flag(self, tree: _Tree) -> ast.Parameter:
        parser, word, *sets = self.parts(tree)
        return ast.Parameter(self.span(tree), parser, word, "flag", None, (), tuple(sets))

    def number_parameter(self, tree: _Tree) -> ast.Parameter:
        parser, word, variable, number, least = self.parts(tree)
        return ast.Parameter(self.span(tree), parser, word, least or number, variable, (), ())

    def feature_parameter(self, tree: _Tree) -> ast.Parameter:
        parser, word, _ = self.parts(tree)
        return ast.Parameter(self.span(tree), parser, word, "features", None, (), ())

    def value(self, tree: _Tree) -> ast.ParameterValue:
        text, *sets = self.parts(tree)
        sets = [assignment for assignment in sets if assignment is not None]
        return ast.ParameterValue(self.span(tree), text if isinstance(text, ast.Text) else None, tuple(sets) or None)

    def harmless_values(self, tree: _Tree) -> list[ast.ParameterValue]:
        return [ast.ParameterValue(text.span, text, ()) for text in self.parts(tree)]

    def assignment(self, tree: _Tree) -> ast.Assignment:
        return ast.Assignment(self.span(tree), *self.parts(tree))

    def harmless(self, tree: _Tree) -> ast.Harmless:
        return ast.Harmless(self.span(tree), tuple(self.parts(tree)))

    # what a kernel decides

    def decide(self, tree: _Tree) -> ast.Decide:
        name, file, *steps = self.parts(tree)
        return ast.Decide(self.span(tree), name, file, tuple(steps))

    def let(self, tree: _Tree) -> ast.Let:
        return ast.Let(self.span(tree), *self.parts(tree))

    def decision(self, tree: _Tree) -> ast.Decision | list[ast.Decision]:
        word, *names, told, guard = self.parts(tree)
        sets, chosen, unless_told = word == "set", tuple(names), told is not None
        return _when(guard, lambda left: ast.Decision(self.span(tree), sets, chosen, unless_told, left))

    def listed(self, tree: _Tree) -> ast.Listed:
        action, numbers, word = self.parts(tree)
        return ast.Listed(self.span(tree), action == "set", numbers is not None, word)

    def assign(self, tree: _Tree) -> ast.Assign | list[ast.Assign]:
        variable, value, guard = self.parts(tree)
        return _when(guard, lambda left: ast.Assign(self.span(tree), variable, value, left))

    def open_fact(self, tree: _Tree) -> ast.OpenFact | list[ast.OpenFact]:
        *features, likely, source, guard = self.parts(tree)
        names, is_likely = tuple(features), likely is not None
        return _when(guard, lambda left: ast.OpenFact(self.span(tree), names, is_likely, source, left))

    def policy(self, tree: _Tree) -> ast.Policy:
        return ast.Policy(self.span(tree), tuple(self.parts(tree)))

    def ordered(self, tree: _Tree) -> ast.Name:
        name: ast.Name = self.node(tree.children[0])
        return name

    # the interface

    def interface(self, tree: _Tree) -> ast.Interface:
        name, *items = self.parts(tree)
        bits = tuple(bit for item in items if isinstance(item, tuple) for bit in item)
        return ast.Interface(
            self.span(tree),
            name,
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
            _only(items, ast.Constant),
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

    def registers(self, tree: _Tree) -> tuple[ast.ClobberBit, ...]:
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

    def op(self, tree: _Tree) -> ast.Op | list[ast.Op]:
        name, number, (inputs, results, clobbers), *sites = self.parts(tree)
        if not sites:
            return []
        noreturn, length, guard = sites[0]
        return _when(
            guard,
            lambda left: ast.Op(
                self.span(tree),
                name,
                number,
                inputs or (),
                results or (),
                clobbers or (),
                noreturn is not None,
                length,
                left,
            ),
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
        return ast.Chain(self.span(tree), name, _only(items, ast.Arm), _only(items, ast.Symbol))

    def backend(self, tree: _Tree) -> list[ast.Backend]:
        parts = self.parts(tree)
        *names, interface = _only(parts, ast.Name)
        items = parts[len(names) + 1 :]
        kinds = (
            _only(items, ast.Option),
            _only(items, ast.Symbol),
            _only(items, ast.Rom),
            _only(items, ast.Target),
            _only(items, ast.Rule),
            _only(items, ast.Otherwise),
            _only(items, ast.Shadow),
        )
        return [ast.Backend(self.span(tree), name, interface, *kinds) for name in names]

    def target(self, tree: _Tree) -> ast.Target | list[ast.Target]:
        *ops, symbol, guard = self.parts(tree)
        each = tuple(ast.OpRange(op.span, op, False, None) for op in ops)
        return _when(guard, lambda left: ast.Target(self.span(tree), each, symbol, False, left))

    def targets(self, tree: _Tree) -> ast.Target | list[ast.Target]:
        symbol, *ops, guard = self.parts(tree)
        return _when(guard, lambda left: ast.Target(self.span(tree), tuple(ops), symbol, True, left))

    def op_range(self, tree: _Tree) -> ast.OpRange:
        first, upto, end = self.parts(tree)
        return ast.OpRange(self.span(tree), first, upto is not None, end)

    def kept(self, tree: _Tree) -> ast.Shadow | list[ast.Shadow]:
        name, operand, holds, guard = self.parts(tree)
        return _when(guard, lambda left: ast.Shadow(self.span(tree), name, operand, holds, left))

    def is_number(self, tree: _Tree) -> ast.Holds:
        return ast.Holds(self.span(tree), self.node(tree.children[0]), False)

    def has_bits(self, tree: _Tree) -> ast.Holds:
        return ast.Holds(self.span(tree), self.node(tree.children[0]), True)

    def rule(self, tree: _Tree) -> ast.Rule | list[ast.Rule]:
        *ops, arms = self.parts(tree)
        return ast.Rule(self.span(tree), tuple(ops), arms) if arms else []

    def otherwise(self, tree: _Tree) -> ast.Otherwise | list[ast.Otherwise]:
        arms = self.node(tree.children[0])
        return ast.Otherwise(self.span(tree), arms) if arms else []

    def chain(self, tree: _Tree) -> tuple[ast.Arm, ...]:
        return tuple(self.parts(tree))

    def arm(self, tree: _Tree) -> ast.Arm | list[ast.Arm]:
        action, clobbers, guard = self.parts(tree)
        return _when(guard, lambda left: ast.Arm(self.span(tree), action, clobbers or (), left))

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

    def any_of(self, tree: _Tree) -> ast.Guard | bool:
        return _joined(self.span(tree), ast.AnyOf, True, self.parts(tree))

    def all_of(self, tree: _Tree) -> ast.Guard | bool:
        return _joined(self.span(tree), ast.AllOf, False, self.parts(tree))

    def negated(self, tree: _Tree) -> ast.Guard | bool:
        part = self.node(tree.children[0])
        return not part if isinstance(part, bool) else ast.Not(self.span(tree), part)

    def target_is(self, tree: _Tree) -> ast.Guard | bool:
        return self._is_or_in(tree, tree.children, lambda name: ast.TargetIs(self.span(tree), name))

    def op_target(self, tree: _Tree) -> ast.Guard | bool:
        op = self.node(tree.children[0])
        return self._is_or_in(tree, tree.children[1:], lambda name: ast.OpTargetIs(self.span(tree), op, name))

    def op_noreturn(self, tree: _Tree) -> ast.Guard:
        return self._negated(tree, tree.children[0], ast.OpNoreturn(self.span(tree)))

    def has_config(self, tree: _Tree) -> ast.HasConfig:
        return ast.HasConfig(self.span(tree), *self.parts(tree))

    def cpu_has(self, tree: _Tree) -> ast.Guard | bool:
        return self._any_or_all(tree, lambda name: ast.CpuHas(self.span(tree), name))

    def kernel_has(self, tree: _Tree) -> ast.Guard | bool:
        return self._any_or_all(tree, lambda name: ast.KernelHas(self.span(tree), name))

    def vulnerability(self, tree: _Tree) -> ast.Vulnerability:
        return ast.Vulnerability(self.span(tree), *self.parts(tree))

    def cpu_vendor(self, tree: _Tree) -> ast.Guard | bool:
        return self._is_or_in(tree, tree.children, lambda name: ast.CpuVendor(self.span(tree), name))

    def cpu_number(self, tree: _Tree) -> ast.Guard | bool:
        what = str(tree.children[0])
        return self._compared(tree, tree.children[1:], lambda how, n: ast.CpuNumber(self.span(tree), what, how, n))

    def cpus(self, tree: _Tree) -> ast.Guard | bool:
        return self._compared(tree, tree.children, lambda how, count: ast.Cpus(self.span(tree), how, count))

    def backend_is(self, tree: _Tree) -> ast.Guard | bool:
        return self._is_or_in(tree, tree.children, lambda name: ast.BackendIs(self.span(tree), name))

    def nops_is(self, tree: _Tree) -> ast.Guard | bool:
        return self._is_or_in(tree, tree.children, lambda name: ast.NopsIs(self.span(tree), name))

    def within(self, tree: _Tree) -> ast.Within:
        return ast.Within(self.span(tree), *self.parts(tree))

    def branches(self, tree: _Tree) -> ast.Guard:
        _, negated, prefix, mnemonic, *short, name = self.parts(tree)
        branch = ast.Branches(self.span(tree), prefix is not None, mnemonic, any(short), name)
        return branch if negated is None else ast.Not(branch.span, branch)

    def begins(self, tree: _Tree) -> ast.Begins:
        name, sign, count, code = self.parts(tree)
        return ast.Begins(self.span(tree), name, _addend(sign, count), code)

    def compares(self, tree: _Tree) -> ast.Guard | bool:
        name = self.node(tree.children[0])
        return self._compared(tree, tree.children[1:], lambda how, n: ast.Compares(self.span(tree), name, how, n))

    def bits_of(self, tree: _Tree) -> ast.BitsOf:
        name, sign, count, mask = self.parts(tree)
        return ast.BitsOf(self.span(tree), name, _addend(sign, count), mask)

    def is_name(self, tree: _Tree) -> ast.Guard | bool:
        subject = self.node(tree.children[0])
        return self._is_or_in(tree, tree.children[1:], lambda name: ast.IsName(self.span(tree), subject, name))

    def truth(self, tree: _Tree) -> ast.IsTrue:
        return ast.IsTrue(self.span(tree), *self.parts(tree))

    def range(self, tree: _Tree) -> tuple[ast.Number, ast.Number | None]:
        first, end = self.parts(tree)
        return first, end

    def _is_or_in(
        self, tree: _Tree, children: Sequence[_Child], question: Callable[[ast.Name], ast.Guard]
    ) -> ast.Guard | bool:
        """`is NAME`, `is not NAME`, or `in NAME, …`."""
        first, *rest = children
        if first is None or (isinstance(first, Token) and first.type == "NOT"):
            return self._negated(tree, first, question(self.node(rest[0])))
        return _joined(self.span(tree), ast.AnyOf, True, [question(self.node(child)) for child in children])

    def _any_or_all(self, tree: _Tree, question: Callable[[ast.Name], ast.Guard]) -> ast.Guard | bool:
        how, *names = self.parts(tree)
        kind: type[ast.AnyOf | ast.AllOf] = ast.AllOf if how == "all" else ast.AnyOf
        if how is None and len(names) > 1:
            label = Label(self.span(tree), "which of them?")
            help = "write `has any …` or `has all …`"
            self.found.append(Diagnostic("PV002", "several names after `has`", (label,), help=help))
        return _joined(self.span(tree), kind, kind is ast.AnyOf, [question(name) for name in names])

    def _compared(
        self, tree: _Tree, children: Sequence[_Child], question: Callable[[str, ast.Number], ast.Guard]
    ) -> ast.Guard | bool:
        """A comparison with a number, or `in NUMBER, FIRST .. END, …`."""
        span = self.span(tree)
        first, *rest = self.items(children)
        if isinstance(first, str):
            return ast.Not(span, question("==", rest[0])) if first == "!=" else question(first, rest[0])
        ranges = (
            question("==", start) if end is None else ast.AllOf(span, (question(">=", start), question("<", end)))
            for start, end in (first, *rest)
        )
        return _joined(span, ast.AnyOf, True, list(ranges))

    def _negated(self, tree: _Tree, word: _Child, question: ast.Guard) -> ast.Guard:
        return question if word is None else ast.Not(self.span(tree), question)

    # families and passes

    def family(self, tree: _Tree) -> ast.Family:
        name, *items = self.parts(tree)
        return ast.Family(
            self.span(tree),
            name,
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

    def case_clobbers(self, tree: _Tree) -> tuple[ast.Name, ...]:
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
    COMPARE CPU_NUMBER TEXT_HAS NUMBERS BUILT NOT ANY ALL UPTO OTHER LIST NUMBER LEAST FEATURES TOLD LIKELY
    EARLY_PARAM SETUP FIND_OPTION FIND_OPTION_BOOL
"""
_TOKENS: dict[str, Callable[[Builder, Token], Any]] = {
    "NAME": Builder.name,
    "SITE": Builder.name,
    "TYPE": Builder.name,
    "READ_TYPE": Builder.name,
    "BRANCH": Builder.name,
    "INT": Builder.int_,
    "VERSION": Builder.version,
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


def _joined(
    span: Span, kind: type[ast.AnyOf | ast.AllOf], decisive: bool, parts: Sequence[ast.Guard | bool]
) -> ast.Guard | bool:
    """What is left of `or` (`decisive` is True) or `and` when what the kernel's version decides is decided."""
    if any(part is decisive for part in parts):
        return decisive
    left = tuple(part for part in parts if not isinstance(part, bool))
    if not left:
        return not decisive
    return left[0] if len(left) == 1 else kind(span, left)


def _when(guard: ast.Guard | bool | None, made: Callable[[ast.Guard | None], T]) -> T | list[T]:
    """A construct with what is left of its guard; none if it never holds."""
    if guard is False:
        return []
    return made(None if guard is True or guard is None else guard)


def _only(items: Sequence[Any], kind: type[T]) -> tuple[T, ...]:
    return tuple(item for item in items if isinstance(item, kind))
