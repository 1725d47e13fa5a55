"""Code that is longer than every site that it could be for."""

from __future__ import annotations

from collections.abc import Iterator

from pvspec.compiler.assemble import Program
from pvspec.lang import model
from pvspec.lang.diagnostics import Findings
from pvspec.x86.code import Code


def check_fit(program: Program, findings: Findings) -> None:
    """PV301 for each arm whose code fits no site."""
    spec = program.spec
    if spec.interface is not None:
        for chain in spec.chains.values():
            _check_chain(chain, spec.interface.max_len, None, program, findings)
        for backend in spec.backends.values():
            for rom in backend.roms.values():
                for chain in rom.chains():
                    _check_chain(chain, spec.interface.max_len, None, program, findings)
            for rule in rules(backend):
                _check_rule(rule, spec.interface, program, findings)
    for family in spec.families.values():
        if family.length is not None:
            _check_chain(family.rule, family.length, None, program, findings)


def rules(backend: model.Backend) -> Iterator[model.Rule]:
    """A backend's rules, `otherwise` last."""
    yield from backend.rules
    if backend.otherwise is not None:
        yield backend.otherwise


def _check_rule(rule: model.Rule, interface: model.Interface, program: Program, findings: Findings) -> None:
    longest = max(rule.ops, key=lambda op: op.length or interface.max_len, default=None)
    own = tuple(arm for arm in rule.chain if is_own(arm, rule))
    _check_chain(own, site_limit(rule, interface), longest, program, findings)


def site_limit(rule: model.Rule, interface: model.Interface | None) -> int:
    """The longest site of a rule's ops, in bytes."""
    longest = interface.max_len if interface is not None else 0
    return max((op.length or longest for op in rule.ops), default=longest)


def too_long(chain: model.Chain, limit: int, program: Program) -> set[model.Arm]:
    """The arms whose code is longer than any site."""
    return {arm for arm in chain if arm in program.code and len(program.code[arm].data) > limit}


def is_own(arm: model.Arm, rule: model.Rule) -> bool:
    """Whether an arm is written in the rule itself, rather than in a named chain."""
    return arm.span.source is rule.span.source and rule.span.start <= arm.span.start < rule.span.end


def _check_chain(chain: model.Chain, limit: int, op: model.Op | None, program: Program, findings: Findings) -> None:
    wrong = too_long(chain, limit, program)
    for arm in chain:
        if arm in wrong:
            code = program.code[arm]
            related = [(op.length_span, f"the sites of `{op.name}` hold {limit}")] if op and op.length_span else []
            findings.add(
                "PV301",
                "code that fits no site",
                (arm.span, f"{len(code.data)} bytes"),
                *related,
                notes=[*listing(code), *([] if related else [f"sites hold at most {limit} bytes"])],
                help="use shorter code, or leave the op to another rule",
            )


def listing(code: Code) -> list[str]:
    """One line per instruction: bytes and disassembly."""
    lines = []
    for instruction in code.instructions:
        data = code.data[instruction.offset : instruction.offset + instruction.size]
        lines.append(f"{data.hex(' '):<24} {instruction.text}")
    return lines
