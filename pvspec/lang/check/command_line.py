"""The command line: variables, the words that set them, and what no text depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pvspec.engine.command_line import CommandLine, Parameter, Sets, Setting, Variable
from pvspec.lang import syntax as ast
from pvspec.lang.check.names import Declared, look_up
from pvspec.lang.diagnostics import Findings
from pvspec.lang.source import Span


def command_line(items: Sequence[ast.CommandLine], findings: Findings) -> CommandLine:
    """How the kernel reads its command line; what is wrong is a finding and is left out."""
    variables = _variables((variable for item in items for variable in item.variables), findings)
    words = Declared[Parameter]("word", findings)
    for parameter in (parameter for item in items for parameter in item.parameters):
        _single(parameter.word, findings)
        name = ast.Name(parameter.word.span, f"{parameter.parser} {parameter.word.value}")
        words.declare(name, _parameter(parameter, variables, findings))
    harmless = Declared[None]("harmless word", findings)
    for text in (text for item in items for group in item.harmless for text in group.words):
        _single(text, findings)
        harmless.declare(ast.Name(text.span, text.value), None)
    return CommandLine(dict(variables), tuple(words.values()), frozenset(harmless))


def setting(
    name: ast.Name, value: ast.Name | ast.Number, variables: Mapping[str, Variable], findings: Findings
) -> tuple[str, Setting] | None:
    """A variable and its new value; None, with a finding, if there is no such variable, or value of it."""
    variable = look_up(variables, name, "variable", findings)
    if variable is None:
        return None
    if isinstance(value, ast.Number):
        if variable.values:
            _mistaken(value.span, f"`{name.text}` is one of: {', '.join(variable.values)}", findings)
            return None
        return name.text, value.value
    if not variable.values:
        _mistaken(value.span, f"`{name.text}` is a number", findings)
        return None
    found = look_up(dict.fromkeys(variable.values, value.text), value, "value", findings)
    return None if found is None else (name.text, found)


def _variables(items: Iterable[ast.Variable], findings: Findings) -> Declared[Variable]:
    variables = Declared[Variable]("variable", findings)
    for item in items:
        default = item.default
        values = Declared[None](f"value of `{item.name.text}`", findings)
        for value in item.values:
            values.declare(value, None)
        if isinstance(default, ast.Number):
            variables.declare(item.name, Variable(default.value))
            continue
        look_up(dict.fromkeys(values, True), default, f"value of `{item.name.text}`", findings)
        variables.declare(item.name, Variable(default.text, tuple(values)))
    return variables


def _parameter(item: ast.Parameter, variables: Mapping[str, Variable], findings: Findings) -> Parameter:
    name = item.variable
    variable = look_up(variables, name, "variable", findings) if name is not None else None
    if item.kind in ("number", "least") and variable is not None and variable.values and name is not None:
        _mistaken(name.span, f"`{name.text}` is one of: {', '.join(variable.values)}", findings)
    values = Declared[Sets]("value", findings)
    other: Sets | None = None
    for value in item.values:
        own = value.sets
        sets = _named(value, name, variables, findings) if own is None else _sets(own, variables, findings)
        if value.text is not None:
            values.declare(ast.Name(value.text.span, value.text.value), sets)
        elif other is None:
            other = sets
        else:
            findings.add("PV102", "`other` is declared twice", (value.span, "again here"))
    flag = _sets(item.sets, variables, findings)
    return Parameter(item.parser, item.word.value, item.kind, name.text if name else "", dict(values), other, flag)


def _named(
    value: ast.ParameterValue, name: ast.Name | None, variables: Mapping[str, Variable], findings: Findings
) -> Sets:
    """What a value without `->` sets: the parameter's variable, to the value of that name."""
    if value.text is None:
        return ()
    if name is None:
        findings.add(
            "PV104", "a value that sets nothing", (value.span, "say which variable it sets: `-> VARIABLE = VALUE`")
        )
        return ()
    if name.text not in variables:  # said already
        return ()
    found = setting(name, ast.Name(value.text.span, value.text.value), variables, findings)
    return () if found is None else (found,)


def _sets(items: Iterable[ast.Assignment], variables: Mapping[str, Variable], findings: Findings) -> Sets:
    found = (setting(item.variable, item.value, variables, findings) for item in items)
    return tuple(pair for pair in found if pair is not None)


def _single(word: ast.Text, findings: Findings) -> None:
    if len(word.value.split()) != 1:
        findings.add(
            "PV305", "not a single word of a command line", (word.span, "no command line contains such a word")
        )


def _mistaken(span: Span, why: str, findings: Findings) -> None:
    findings.add("PV305", "a variable cannot have this value", (span, why))
