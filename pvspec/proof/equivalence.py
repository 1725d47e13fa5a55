"""Does an emitter do what its op means? Both are run from many states and compared, padding included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from pvspec.compiler.assemble import Program
from pvspec.engine.patch import padded
from pvspec.engine.spec import Architecture
from pvspec.engine.value import Value
from pvspec.lang import model
from pvspec.lang.diagnostics import Work
from pvspec.proof.shadows import ShadowFlag
from pvspec.proof.states import states
from pvspec.x86.code import Code
from pvspec.x86.effects import effects
from pvspec.x86.emulator.function import CARRY, CONTROL, GENERAL, INTERRUPT, TRAP, Emulator, Function, Outcome, State

# What the emulator makes up, or does without visible effect: running it would prove nothing.
NOT_EMULATED = {
    "rdtsc": "a running counter",
    "rdtscp": "a running counter",
    "rdpmc": "a running counter",
    "rdrand": "a random number",
    "rdseed": "a random number",
    "rdmsr": "registers of the CPU that the emulator lacks",
    "wrmsr": "registers of the CPU that the emulator lacks",
    "cpuid": "an answer that differs between CPUs",
    "in": "a device",
    "out": "a device",
    "insb": "a device",
    "outsb": "a device",
    "wbinvd": "a cache that the emulator lacks",
    "invd": "a cache that the emulator lacks",
    "invlpg": "a TLB that the emulator lacks",
    "lldt": "a descriptor that the emulator lacks",
    "ltr": "a descriptor that the emulator lacks",
    "lgdt": "a table that the emulator lacks",
    "lidt": "a table that the emulator lacks",
    "mov cr0": "another mode of the CPU",
    "mov cr4": "another mode of the CPU",
}
_STATE = 150  # units of work that running code from a state costs
NOP_STATES = 32  # besides the corner cases: a nop is just one or two instructions
LAYOUTS = 17  # combinations of address, length and nop table for the sites of one emitter
_TRAPS = ("trap", "exception")


class Emitter(Value):
    """An arm's code for an op, with one setting of its backend's options."""

    op: model.Op
    arm: model.Arm
    code: Code
    allowed: frozenset[str]
    functions: Mapping[str, Function]
    addresses: Mapping[str, int]
    shadow: ShadowFlag | None


class Difference(Value):
    """A state from which an emitter does something else: the bytes that ran, and the differences, in lines."""

    site: bytes
    address: int
    lines: tuple[str, ...]


class NotEmulated(Value):
    """The first instruction that the emulator cannot run faithfully, and why."""

    text: str
    why: str


def not_emulated(code: Code, bits: int) -> NotEmulated | None:
    """The first instruction in this code that the emulator cannot run faithfully, if any."""
    for effect in effects(code, bits):
        text = effect.instruction.text
        words = text.replace(",", " ").split()
        why = NOT_EMULATED.get(words[0]) or NOT_EMULATED.get(" ".join(words[:2]))
        if why is None and (effect.kind in _TRAPS or effect.kind == "return"):
            why = "another privilege level or stack, which the emulator lacks"
        if why is not None:
            return NotEmulated(text, why)
    return None


def compare(
    emitter: Emitter, meaning: model.Meaning, program: Program, emulator: Emulator, work: Work
) -> int | Difference | NotEmulated:
    """The number of states from which an emitter did what the op means; or what went wrong."""
    bits = emulator.bits
    named = _control_named(emitter, meaning, program, emulator)
    reference = program.code[meaning.code] if meaning.code is not None else None
    machine = program.spec.machine
    dealt = _varied(states(emitter.op.inputs, bits, emitter.shadow, named))
    work.add(_STATE * len(dealt), f"the states that the code of `{emitter.op.name}` is run from")
    for variant, state in dealt:
        address = emulator.site_address(variant)
        site = laid_out(emitter, variant, machine)
        found = emulator.run(filled(site, emitter, address), address, state, emitter.functions)
        if found.stop != "end" and "Invalid instruction" in found.stop:
            return NotEmulated(_text_at(emitter.code, found.at), "an instruction that the emulator does not know")
        if reference is None:
            lines = [*_broken(found, state, emitter, emulator, meaning)]
            lines += _effects_missed(found, state, emitter, emulator, meaning)
        else:
            elsewhere = emulator.reference_address(variant)
            code = reference.filled(elsewhere, emitter.addresses)
            wanted = emulator.run(code, elsewhere, state, emitter.functions)
            if wanted.stop != "end" and found.stop == wanted.stop:
                continue  # neither has memory there
            lines = [*_broken(found, state, emitter, emulator, meaning), *_unlike(found, wanted, emitter, emulator)]
        if lines:
            return Difference(filled(site, emitter, address), address, (*_start(state, emitter), *lines))
    return len(dealt)


def _varied(all_states: Iterable[State]) -> list[tuple[int, State]]:
    """The states, distributed over the layouts of a site, sorted by layout."""
    dealt: list[list[State]] = [[] for _ in range(LAYOUTS)]
    for index, state in enumerate(all_states):
        dealt[index % LAYOUTS].append(state)
    return [(variant, state) for variant, some in enumerate(dealt) for state in some]


def check_nop(nop: bytes, emulator: Emulator) -> int | tuple[str, ...]:
    """The number of states in which a nop changed nothing; or what it changed."""
    tried = list(states(("eax", "rax", "esi", "rsi"), emulator.bits, None, {}, NOP_STATES))
    for state in tried:
        address = emulator.site_address(0)
        found = emulator.run(nop, address, state, {})
        changed = [
            f"{name} was {state.registers[name]:#x} and is {found.registers[name]:#x}"
            for name in state.registers
            if found.registers[name] != state.registers[name]
        ]
        if (found.flags ^ state.flags) & ~0x2:
            changed.append(f"the flags were {state.flags:#x} and are {found.flags:#x}")
        if found.written or found.stop != "end" or found.registers["stack pointer"] != emulator.stack:
            changed.append("it writes memory or changes the stack pointer" if found.stop == "end" else found.stop)
        if changed:
            return tuple(changed)
    return len(tried)


def laid_out(emitter: Emitter, number: int, machine: Architecture) -> bytes:
    """The code at a site of the op's length, or of varying length, padded with nops of each table in turn."""
    name = list(machine.nops)[number % len(machine.nops)]
    table, data = machine.nops[name], emitter.code.data
    length = emitter.op.length or len(data) + number % (2 * len(table) + 2)
    return padded(data, length, table, jumps=name in machine.jumps)


def filled(site: bytes, emitter: Emitter, address: int) -> bytes:
    """A site with its holes filled."""
    return emitter.code.changed(data=site).filled(address, emitter.addresses)


def _control_named(emitter: Emitter, meaning: model.Meaning, program: Program, emulator: Emulator) -> dict[str, int]:
    """The control registers that the code or the meaning names; only these are varied, to save time."""
    codes = [emitter.code, *([program.code[meaning.code]] if meaning.code is not None else [])]
    named = {name for code in codes for effect in effects(code, emulator.bits) for name in effect.reads | effect.writes}
    for effect in meaning.effects:
        named |= {part.name for part in (effect.target, effect.value) if isinstance(part, model.Part)}
    return {name: emulator.control(name) for name in CONTROL if name in named}


def _text_at(code: Code, offset: int) -> str:
    return next((one.text for one in code.instructions if one.offset == offset), "its padding")


# ---- what must hold for every op


def _broken(
    found: Outcome, state: State, emitter: Emitter, emulator: Emulator, meaning: model.Meaning
) -> Iterator[str]:
    if found.stop != "end":
        yield f"it stops at byte {found.at}: {found.stop}"
        return
    for name in GENERAL[emulator.bits]:
        if name not in emitter.allowed and found.registers[name] != state.registers[name]:
            yield f"{name} was {state.registers[name]:#x} and is {found.registers[name]:#x}"
    if found.registers["stack pointer"] != emulator.stack:
        yield f"the stack pointer was {emulator.stack:#x} and is {found.registers['stack pointer']:#x}"
    changed = (found.flags ^ state.flags) & ~(CARRY | TRAP | 0x2 | _free_flags(emitter))
    if meaning.code is None and changed and not (changed == INTERRUPT and _sets_flag(meaning, emitter)):
        yield f"the flags were {state.flags:#x} and are {found.flags:#x}"
    if meaning.code is None:
        named = {effect.target.name for effect in meaning.effects}
        for name, value in state.control.items():
            if name not in named and found.control[name] != value:
                yield f"{name} was {value:#x} and is {found.control[name]:#x}"
        yield from _memory_changed(found, emitter, emulator, _sets(meaning))


def _free_flags(emitter: Emitter) -> int:
    """The flags that the contract leaves open: all, with `flags`; not the interrupt flag, if it is kept elsewhere."""
    return (~0 if emitter.shadow is None else ~INTERRUPT) if "flags" in emitter.allowed else 0


def _sets(meaning: model.Meaning) -> bool:
    return any(effect.target.name == "interrupt_flag" for effect in meaning.effects)


def _sets_flag(meaning: model.Meaning, emitter: Emitter) -> bool:
    return emitter.shadow is None and _sets(meaning)


def _memory_changed(found: Outcome, emitter: Emitter, emulator: Emulator, sets_flag: bool) -> Iterator[str]:
    shadow = emitter.shadow
    own = range(shadow.address, shadow.address + shadow.size) if shadow is not None and sets_flag else range(0)
    for address, value in sorted(_visible(found, emulator).items()):
        if address not in own:
            yield f"the byte at {address:#x} became {value:#x}"


def _visible(found: Outcome, emulator: Emulator) -> dict[int, int]:
    """What was written, except below the stack pointer, where it is lost."""
    dead = range(emulator.stack - 0x1000, emulator.stack)
    return {address: value for address, value in found.written.items() if address not in dead}


# ---- meanings


def _effects_missed(
    found: Outcome, state: State, emitter: Emitter, emulator: Emulator, meaning: model.Meaning
) -> Iterator[str]:
    if found.stop != "end":
        return
    for effect in meaning.effects:
        now = _after(effect.target, found, emitter, emulator)
        wanted = effect.value if isinstance(effect.value, int) else _before(effect.value, state, emitter)
        if now != wanted:
            yield f"{_name(effect.target)} is {now:#x}, but the op means {wanted:#x}"


def _name(part: model.Part) -> str:
    return part.name.replace("_", " ") + (f" bit {part.bit}" if part.bit is not None else "")


def _bit(value: int, part: model.Part) -> int:
    return value if part.bit is None else value >> part.bit & 1


def _before(part: model.Part, state: State, emitter: Emitter) -> int:
    if part.name == "interrupt_flag":
        shadow = emitter.shadow
        if shadow is None:
            return state.flags // INTERRUPT & 1
        (start, data), *_ = state.memory.items()
        offset = shadow.address - start
        return shadow.flag(int.from_bytes(data[offset : offset + shadow.size], "little"))
    return _bit(state.control[part.name] if part.name in CONTROL else state.registers[part.name], part)


def _after(part: model.Part, found: Outcome, emitter: Emitter, emulator: Emulator) -> int:
    if part.name == "interrupt_flag":
        shadow = emitter.shadow
        if shadow is None:
            return found.flags // INTERRUPT & 1
        return shadow.flag(emulator.read(shadow.address, shadow.size))
    return _bit(found.control[part.name] if part.name in CONTROL else found.registers[part.name], part)


def _unlike(found: Outcome, wanted: Outcome, emitter: Emitter, emulator: Emulator) -> Iterator[str]:
    """The differences from the outcome of the reference code; clobbered registers are ignored."""
    if found.stop != "end" or wanted.stop != "end":
        if (found.stop, found.at) != (wanted.stop, wanted.at):
            yield f"the reference code ends differently: {wanted.stop}"
        return
    for name, promised in sorted(emitter.op.result_bytes.items()):
        mask = sum(0xFF << 8 * index for index in promised)
        if (found.registers[name] ^ wanted.registers[name]) & mask:
            yield f"{name} is {found.registers[name]:#x}, but {wanted.registers[name]:#x} after the reference code"
    if (found.flags ^ wanted.flags) & ~(CARRY | 0x2):
        yield f"the flags are {found.flags:#x}, but {wanted.flags:#x} after the reference code"
    for name in found.control:
        if found.control[name] != wanted.control[name]:
            yield f"{name} is {found.control[name]:#x}, but {wanted.control[name]:#x} after the reference code"
    ours, theirs = _visible(found, emulator), _visible(wanted, emulator)
    for address in sorted(ours.keys() | theirs.keys()):
        if ours.get(address) != theirs.get(address):
            yield f"the byte at {address:#x} differs from that after the reference code"
    if found.calls != wanted.calls:
        ours_called, theirs_called = (", ".join(outcome.calls) or "nothing" for outcome in (found, wanted))
        yield f"it calls {ours_called}, but the reference code calls {theirs_called}"


def _start(state: State, emitter: Emitter) -> Iterator[str]:
    for name in sorted(emitter.op.inputs & state.registers.keys()):
        yield f"from {name} = {state.registers[name]:#x}"
    yield f"from flags = {state.flags:#x}"
    for name, value in state.control.items():
        yield f"from {name} = {value:#x}"
    if emitter.shadow is not None:
        yield f"from interrupt flag = {_before(model.Part('interrupt_flag', None), state, emitter)}"
