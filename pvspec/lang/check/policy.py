"""What a kernel decides about itself: functions, their steps, and the order in which the kernel runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pvspec.engine import guards as asked
from pvspec.engine.command_line import CommandLine
from pvspec.engine.guards import Guard, questions
from pvspec.engine.spec import Assign, Conditional, Decide, Decision, Let, Listed, OpenFact, Steps
from pvspec.lang import syntax as ast
from pvspec.lang.check.command_line import setting
from pvspec.lang.check.guards import Scope, decided, guard
from pvspec.lang.check.names import Declared, look_up, unknown
from pvspec.lang.diagnostics import Findings

_STEP, _NAME = 20, 3  # units of work that a step costs, and each name that `let` declared before it


def configs(items: Iterable[ast.Config], findings: Findings) -> dict[str, Guard]:
    """How a kernel shows what it was configured with."""
    declared = Declared[Guard]("config", findings)
    for item in items:
        shown = decided(item.guard, Scope(), Findings())  # whatever else is wrong with what cannot be asked
        if not all(isinstance(question, asked.KernelHas) for question in questions(shown)):
            text = "only `kernel has SYMBOL` tells how a kernel was configured"
            findings.add("PV305", "this guard has no meaning here", (item.span, text))
        declared.declare(item.name, shown)
    return dict(declared)


def policy(
    items: Sequence[ast.Item], scope: Scope, command_line: CommandLine, findings: Findings
) -> tuple[Decide, ...]:
    """The functions in the order of `policy`; without one as they are written."""
    functions = Declared[Decide]("function", findings)
    decides = [item for item in items if isinstance(item, ast.Decide)]
    for item in decides:
        steps = _Block(scope, command_line, findings).steps(item.steps)
        functions.declare(item.name, Decide(item.name.text, item.file.value, steps))
    order = [item for item in items if isinstance(item, ast.Policy)]
    for again in order[1:]:
        findings.add(
            "PV102", "a second `policy` is declared", (again.span, "again here"), (order[0].span, "first here")
        )
    if not order:
        return tuple(functions.values())
    elsewhere = {item.name.text for item in items if isinstance(item, ast.Elsewhere)}
    return tuple(_ordered(order[0], decides, functions, elsewhere, findings))


def _ordered(
    order: ast.Policy,
    decides: Iterable[ast.Decide],
    functions: Mapping[str, Decide],
    elsewhere: set[str],
    findings: Findings,
) -> Iterator[Decide]:
    listed: dict[str, ast.Name] = {}
    for name in order.names:
        first = listed.setdefault(name.text, name)
        if first is not name:
            message = f"`{name.text}` is in `policy` twice"
            findings.add("PV102", message, (name.span, "again here"), (first.span, "first here"))
        elif name.text in functions:
            yield functions[name.text]
        elif name.text not in elsewhere:
            unknown(name, "function", {*functions, *elsewhere}, findings)
    for item in decides:
        if item.name.text not in listed:
            text = "nothing says when the kernel runs it"
            help = "add it to `policy { … }`, where the kernel calls it"
            place = (order.span, "the order of all functions")
            findings.add("PV104", f"`{item.name.text}` is not in `policy`", (item.name.span, text), place, help=help)


class _Block:
    """Steps, and what `let` has named before them; a block inside may name more, for itself."""

    def __init__(self, scope: Scope, command_line: CommandLine, findings: Findings) -> None:
        self.scope = scope
        self.command_line = command_line
        self.findings = findings

    def steps(self, items: Iterable[ast.Step]) -> tuple[Steps, ...]:
        """The steps as the engine does them; one that has no meaning is a finding and left out."""
        return tuple(step for item in items for step in self._step(item))

    def _step(self, item: ast.Step) -> Iterator[Steps]:
        self.findings.work.add(_STEP + _NAME * len(self.scope.conditions), "its steps", item.span)
        where, scope, findings = item.span.where, self.scope, self.findings
        match item:
            case ast.Conditional():
                condition = decided(item.guard, scope, findings)
                yield Conditional(where, condition, self._inner(item.then), self._inner(item.otherwise))
            case ast.Let():
                yield Let(where, item.name.text, decided(item.guard, scope, findings))
                self._name(item.name)
            case ast.Decision():
                features = self._features(item.features)
                yield Decision(where, item.sets, features, guard(item.guard, scope, findings), item.unless_told)
            case ast.Listed():
                known = [each.word for each in self.command_line.parameters if each.kind == "features"]
                if item.word.value not in known:
                    unknown(ast.Name(item.word.span, item.word.value), "list of features", known, findings)
                yield Listed(where, item.sets, item.numbers, item.word.value)
            case ast.Assign():
                becomes = setting(item.variable, item.value, self.command_line.variables, findings)
                condition_or_none = guard(item.guard, scope, findings)
                if becomes is not None:
                    yield Assign(where, *becomes, condition_or_none)
            case ast.OpenFact():
                features = self._features(item.features)
                condition_or_none = guard(item.guard, scope, findings)
                yield OpenFact(where, features, item.likely, item.source.value, condition_or_none)

    def _inner(self, items: Iterable[ast.Step]) -> tuple[Steps, ...]:
        return _Block(self.scope, self.command_line, self.findings).steps(items)

    def _features(self, names: Iterable[ast.Name]) -> tuple[int, ...]:
        numbers = (look_up(self.scope.features, name, "feature", self.findings) for name in names)
        return tuple(number for number in numbers if number is not None)

    def _name(self, name: ast.Name) -> None:
        """Declare what `let` names, for the rest of the block."""
        taken = {
            "a condition before this": self.scope.conditions,
            "an option": self.scope.options,
            "a variable": self.scope.variables,
        }
        for what, names in taken.items():
            if name.text in names:
                self.findings.add("PV102", f"`{name.text}` is {what}, too", (name.span, "choose another name"))
        self.scope = self.scope.changed(conditions=(*self.scope.conditions, name.text))
