"""Warnings: unused declarations, features that nothing tests, decisions that never matter."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from pvspec.lang import syntax as ast
from pvspec.lang.check.chains import arms_of, reached
from pvspec.lang.check.needless import check_needless
from pvspec.lang.check.uses import Uses, names_features, of_backend, of_family, of_interface, of_step, steps_in
from pvspec.lang.diagnostics import Findings


def check_unused(items: Sequence[ast.Item], findings: Findings) -> None:
    """PV701, PV702 and PV703, for a spec without errors. A spec that patches nothing does not use anything yet."""
    if any(isinstance(item, ast.Backend | ast.Family) for item in items):
        parts = _Parts(items, findings)
        parts.check_chains()
        parts.check_interfaces()
        parts.check_backends()
        parts.check_families()
        never = {*parts.check_policy(), *parts.check_features()}
        check_needless(items, parts.by_kernel, never, findings)


class _Parts:
    """A spec's parts, and what each of them uses."""

    def __init__(self, items: Sequence[ast.Item], findings: Findings) -> None:
        self.findings = findings
        self.machines = [item for item in items if isinstance(item, ast.Machine)]
        self.interfaces = [item for item in items if isinstance(item, ast.Interface)]
        self.backends = [item for item in items if isinstance(item, ast.Backend)]
        self.families = [item for item in items if isinstance(item, ast.Family)]
        self.chains = {item.name.text: item for item in items if isinstance(item, ast.Chain)}
        self.lines = [item for item in items if isinstance(item, ast.CommandLine)]
        self.configs = [item for item in items if isinstance(item, ast.Config)]
        self.decides = [item for item in items if isinstance(item, ast.Decide)]
        self.steps = [step for item in self.decides for step in steps_in(item.steps)]
        self.by_policy = Uses()
        for step in self.steps:
            self.by_policy.add(of_step(step))
        self.by_chain = {name: Uses(item.arms) for name, item in self.chains.items()}
        self.by_backend = [(item, of_backend(item)) for item in self.backends]
        self.by_family = [(item, of_family(item)) for item in self.families]
        self.by_rest = Uses()
        for interface in self.interfaces:
            of_interface(interface, self.by_rest)
        for machine in self.machines:
            for choice in machine.choices:
                self.by_rest.guard(choice.guard)
        self.by_kernel = Uses()
        for part in (self.by_rest, *self.by_chain.values(), *(uses for _, uses in (*self.by_backend, *self.by_family))):
            self.by_kernel.add(part)
        self.words = self.by_kernel.words | self.by_policy.words

    def check_chains(self) -> None:
        """Chains that no rule uses."""
        arms = [arm for item in self.backends for arm in arms_of(item)]
        arms += [arm for item in self.families for arm in item.arms]
        used = reached(arms, self.chains)
        self._unused("chain", (item.name for item in self.chains.values()), used, "no rule uses it")

    def check_interfaces(self) -> None:
        """Options and symbols of the interface, which any part may use, and the numbers with names."""
        for item in self.interfaces:
            self._unused("option", (name for option in item.options for name in option.names), self.words)
            self._unused("symbol", (name for symbol in item.symbols for name in symbol.names), self.words)
            self._unused("number", (constant.name for constant in item.constants), self.words)

    def check_backends(self) -> None:
        """A backend's own options, symbols and roms."""
        for item, uses in self.by_backend:
            self._unused("option", (name for option in item.options for name in option.names), uses.words)
            self._unused("symbol", (name for symbol in item.symbols for name in symbol.names), uses.words)
            self._unused("rom", (rom.name for rom in item.roms), uses.words)

    def check_families(self) -> None:
        """A family's options and reads; symbols, which all families and their chains share."""
        shared = {word for uses in self.by_chain.values() for word in uses.words}
        shared.update(word for _, uses in self.by_family for word in uses.words)
        for item, uses in self.by_family:
            own = uses.words.union(*(self.by_chain[name].words for name in reached(item.arms, self.chains)))
            self._unused("option", (name for option in item.options for name in option.names), own)
            self._unused("read", (read.name for read in item.reads), own)
        owners: list[ast.Family | ast.Chain] = [*self.families, *self.chains.values()]
        for owner in owners:
            self._unused("symbol", (name for symbol in owner.symbols for name in symbol.names), shared)

    def check_policy(self) -> set[str]:
        """What a policy declares for itself; the variables that nothing asks for."""
        self._unused("config", (item.name for item in self.configs), self.words)
        listed = {step.word.value for step in self.steps if isinstance(step, ast.Listed)}
        parameters = (parameter for line in self.lines for parameter in line.parameters)
        words = (parameter.word for parameter in parameters if parameter.kind == "features")
        names = (ast.Name(word.span, word.value) for word in words)
        self._unused("word", names, listed, "no step sets or clears what it lists")
        for item in self.decides:
            self._check_conditions(item.steps)
        variables = [variable.name for line in self.lines for variable in line.variables]
        self._unused("variable", variables, self.words, "no guard asks for it")
        return {name.text for name in variables} - self.words

    def _check_conditions(self, steps: Sequence[ast.Step]) -> None:
        """What `let` names and nothing in the rest of the block asks for."""
        after = Uses()
        for step in reversed(steps):
            if isinstance(step, ast.Let):
                self._unused("condition", [step.name], after.words, "nothing in the rest of its block asks for it")
            if isinstance(step, ast.Conditional):
                self._check_conditions(step.then)
                self._check_conditions(step.otherwise)
            for part in steps_in([step]):
                after.add(of_step(part))

    def _unused(
        self, what: str, names: Iterable[ast.Name], known: Container[str], why: str = "nothing refers to it"
    ) -> None:
        for name in names:
            if name.text not in known:
                self.findings.add("PV701", f"{what} `{name.text}` is never used", (name.span, why))

    def check_features(self) -> set[str]:
        """The features that no guard tests, each a finding; and numbers with names."""
        features = [feature for machine in self.machines for feature in machine.features]
        named = Uses()
        for feature in features:
            if feature.number is not None:
                named.number(feature.number)
        self._unused("number", (item.name for machine in self.machines for item in machine.constants), named.words)
        if any(names_features(item, uses) for item, uses in self.by_family):
            self.by_kernel.features.update(feature.name.text for feature in features if feature.number is not None)
        asked = self.by_kernel.features | self.by_policy.features
        decisions = [step for step in self.steps if isinstance(step, ast.Decision | ast.OpenFact)]
        by_name = {name.text: name for step in reversed(decisions) for name in step.features}
        never = [feature.name for feature in features if feature.name.text not in asked]
        for name in never:
            where = [(by_name[name.text].span, "this decision has no effect")] if name.text in by_name else []
            text = "no guard tests it, and no record can name it"
            self.findings.add("PV702", f"feature `{name.text}` is never tested", (name.span, text), *where)
        return {name.text for name in never}
