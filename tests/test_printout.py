"""A printed module and the engine with the spec's value: both patch the same, or refuse it with the same words.

The tables are random, and nearly right: most records can be patched, some ask for what is not bound or cannot be.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property, partial
from random import Random
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import pytest

from pvspec.compiler.lower import lower
from pvspec.compiler.pipeline import import_text
from pvspec.compiler.printout import render
from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchError
from pvspec.engine.facts import Facts, protected_names, symbol_names
from pvspec.engine.guards import (
    Begins,
    Branches,
    CpuVendor,
    Guard,
    Question,
    Vulnerability,
    Within,
    questions,
)
from pvspec.engine.records import build_records
from pvspec.engine.spec import Family, Field, Layout, Rom, Spec, policy_guards

from .shipped import KERNELS
from .shipped import Kernel as Shipped

T = TypeVar("T")
ROUNDS = 12  # kernels for each backend of a spec

# where everything is, from the image's first byte on
TEXT, DATA, END = 0, 0x1000, 0x1800
GRID = 16  # bytes from one site to the next
TABLES = 0x10000
PROTECTED = 0x20000
BASES = {32: 0xC1000000, 64: 0xFFFFFFFF81000000}

CODES = tuple(
    bytes.fromhex(code)
    for code in (
        *("90" * 16, "0f 1f 44 00 00", "66 90", "3e 8d 74 26 00", "f0 0f b1 0a", "3e 0f b1 0a", "f3 0f 1e fa", "eb 10"),
        *("e9 00 00 00 00", "e8 20 00 00 00", "c3 cc cc cc cc", "ff 15 00 00 00 00", "0f ae e8", "c1 e8 0c", "fb"),
        *("48 b8 ef cd ab 89 67 45 23 01", "65 48 c1 3d 00 01 00 00 05", "41 ff d3", "0f 0b", "2e e8 10 00 00 00"),
    )
)


@cache
def both(kernel: Shipped) -> tuple[Spec, ModuleType]:
    """A spec as a value, and the module printed for it."""
    name = re.sub(r"\W", "_", str(kernel))
    return lower(kernel.program).spec, import_text(render(kernel.program), f"pvspec.generated.linux_{name}")


@cache
def asked(kernel: Shipped) -> Sequence[Question]:
    """What the guards of a spec ask."""
    spec = both(kernel)[0]
    chains = [chain for backend in spec.backends.values() for chain in (*backend.rules.values(), backend.otherwise)]
    chains += [family.rule for family in spec.families.values()]
    guards: list[Guard | None] = [arm.guard for chain in chains for arm in chain]
    guards += [*policy_guards(spec.policy), *spec.configs.values()]
    guards += [target.guard for backend in spec.backends.values() for target in backend.targets]
    return list(dict.fromkeys(part for guard in guards for part in questions(guard)))


def _words(spec: Spec) -> Iterator[str]:
    """Words that a spec knows, with each of their values."""
    listed = ",".join([*spec.machine.shown][:2])
    for parameter in spec.command_line.parameters:
        yield from (f"{parameter.word}={value}" for value in (*parameter.values, "1", listed))
        yield parameter.word


class World:
    """One machine and its kernel's image, at random."""

    def __init__(self, kernel: Shipped, backend: str | None, seed: str) -> None:
        self.spec, self.module = both(kernel)
        self.backend = backend
        self.random = Random(seed)
        self.asked = asked(kernel)
        self.base = BASES[self.spec.machine.bits]
        self.symbols = self._symbols()
        self.facts = self._facts()
        self.text = self._text()
        self.everything = sum(self.spec.interface.clobbers.values()) if self.spec.interface else 0

    @cached_property
    def kernels(self) -> tuple[Any, Any]:
        """The engine's kernel and the printed module's, or why there is none."""
        facts, cpu = self.facts, self.facts["cpu"]
        return (
            made(lambda: Kernel(Facts(self.spec, self.backend, **facts)), PatchError),
            made(
                lambda: self.module.bind(self.backend, **{**facts, "cpu": cpu and self.module.Cpu(*cpu)}),
                self.module.PatchError,
            ),
        )

    # ---- what is bound

    def _symbols(self) -> dict[str, int]:
        symbols = {name: self._place() for name in sorted(symbol_names(self.spec)) if self._mostly()}
        for question in self.asked:
            if isinstance(question, Within):
                symbols |= {question.first: self.base + TEXT, question.last: self.base + DATA}
        return symbols

    def _facts(self) -> dict[str, Any]:
        random, spec = self.random, self.spec
        interface, backend = spec.interface, spec.backends.get(self.backend or "")
        options = {name: random.random() < 0.5 for name in (interface.names.options if interface else ())}
        numbers = self.numbers = sorted(interface.numbers[tuple(options.values())]) if interface else []
        words = list(_words(spec))
        vendors = [question.vendor for question in self.asked if isinstance(question, CpuVendor)] or ["GenuineIntel"]
        known = [question for question in self.asked if isinstance(question, Vulnerability)]
        tables = {str(target.symbol) for target in backend.targets if target.table} if backend else set()
        return {
            "targets": {number: self._target() for number in numbers if self._mostly()},
            "settled": random.random() < 0.2,
            "tables": {name: {n: self._target() for n in numbers if self._mostly()} for name in sorted(tables)},
            "symbols": self.symbols,
            "options": options,
            "nops": random.choice([None, None, *spec.machine.nops]),
            "features": random.sample(sorted(spec.machine.features), random.randrange(len(spec.machine.features))),
            "cpu": random.choice(
                [None, (random.choice(vendors), random.randrange(5, 27), random.randrange(200), 1, 5, 2)]
            ),
            "cpus": random.choice([None, 1, 2, 2]),
            "cmdline": " ".join(random.sample(words, min(len(words), random.randrange(4)))),
            "config": {name: random.random() < 0.5 for name in spec.configs if random.random() < 0.2},
            "assumed": dict.fromkeys(random.sample(sorted(spec.machine.features), 2), random.random() < 0.5),
            "vulnerabilities": {part.file: part.text for part in known if random.random() < 0.1},
            "protect": dict.fromkeys(protected_names(spec), (self.base + PROTECTED, self.base + PROTECTED + 64)),
            "rom": {name: self._rom(rom) for name, rom in backend.roms.items()} if backend else {},
        }

    def _rom(self, rom: Rom) -> Callable[[int], int]:
        kinds, seed = [*rom.chains, 77], self.random.random()

        def answer(argument: int) -> int:
            own = Random(f"{seed} {argument}")
            fields = {"type": own.choice(kinds), "eip": self.base + GRID * own.randrange(DATA // GRID)}
            return int.from_bytes(build_records(rom.answer, [fields])[: rom.answer.size], "little")

        return answer

    # ---- what is in memory

    def _text(self) -> bytes:
        """Sites that some rule may know, and words that are numbers or addresses."""
        random, width = self.random, self.spec.machine.bits // 8
        text = bytearray(random.randbytes(END))
        for at in range(TEXT, DATA, GRID):
            code = self._code(self.base + at)[:GRID]
            text[at : at + len(code)] = code
        for at in range(DATA, END, width):
            word = random.choice([0, 1, (1 << 8 * width) - 1, self._place(), random.getrandbits(16)])
            text[at : at + width] = word.to_bytes(width, "little")
        return bytes(text)

    def _code(self, address: int) -> bytes:
        random = self.random
        kind = random.choice([Begins, Branches, None, None])
        match random.choice([part for part in self.asked if kind and isinstance(part, kind)] or [None]):
            case Branches(prefixed, opcode, symbol) if symbol in self.symbols:
                return b"\x2e" * prefixed + rel32(opcode, address + prefixed, self.symbols[symbol])
            case Begins("site", addend, code) if addend > 0:
                return (rel32(0xE9, address, self._place()) + bytes(addend))[:addend] + code
            case Begins(_, _, code):
                return code
        if random.random() < 0.5:
            return rel32(random.choice([0xE8, 0xE9]), address, self._place())
        return random.choice(CODES)

    def _place(self) -> int:
        """Where a site, or a function, may be."""
        return self.base + GRID * self.random.randrange(TEXT // GRID, DATA // GRID) + self.random.choice([0, 0, 9])

    def _target(self) -> int:
        return self.random.choice([0, self._place(), *self.symbols.values()])

    def _mostly(self) -> bool:
        return self.random.random() < 0.97

    # ---- tables

    def sites(self, layout: Layout) -> bytes:
        """A table of the interface's sites."""
        random, numbers, everything = self.random, self.numbers, self.everything
        records = [
            {
                "addr": self.base + at,
                "type": random.choice(numbers),
                "len": random.randrange(GRID + 1),
                "clobber": random.choice([0, everything, random.getrandbits(16) & everything]),
            }
            for at in self._spots(0.999)
        ]
        return build_records(layout, records)

    def records(self, family: Family, where: int) -> bytes:
        """A family's table, to be at `where`."""
        table, sites = b"", [self.base + at for at in self._spots(0.99)]
        known = [site for site in sites if self._is_known(family, site)]
        sites = known if known and self.random.random() < 0.5 else sites
        if family.stacked:
            sites = sorted(self.random.choices(sites, k=len(sites)))
        for site in sites[: self.random.choice([1, 2, 10, len(sites)])]:
            own = where + len(table)
            record = {field.name: self._field(field, site, own + field.at // 8) for field in family.layout.fields}
            record |= self._led_to(family, site)
            table += build_records(family.layout, [record], own)
        return table

    def _is_known(self, family: Family, site: int) -> bool:
        """Whether a guard of the family asks for what is at the site."""
        code, wanted = self._at(site), [part for arm in family.rule for part in questions(arm.guard)]
        begins = [part for part in wanted if isinstance(part, Begins) and part.value == "site"]
        branches = [part for part in wanted if isinstance(part, Branches)]
        after = [part for part in begins if part.addend > 0]  # a mark, which is rarer than what the site begins with
        if after:
            return any(code[part.addend :].startswith(part.code) for part in after)
        return any(code.startswith(part.code) for part in begins if not part.mask) or any(
            code.startswith(b"\x2e" * part.prefixed + rel32(part.opcode, site + part.prefixed, self.symbols[part.to]))
            for part in branches
            if part.to in self.symbols
        )

    def _led_to(self, family: Family, site: int) -> dict[str, int]:
        """Fields that guards compare with where the site's branch leads: it leads there, half of the time."""
        code = self._at(site)
        distance = int.from_bytes(code[1:5], "little", signed=True) + 5
        if code[0] == 0xEB:
            distance = int.from_bytes(code[1:2], signed=True) + 2
        fields = {field.name for field in family.layout.fields}
        asked = {part.to for arm in family.rule for part in questions(arm.guard) if isinstance(part, Branches)}
        leads = code[0] in (0xE9, 0xEB) and self.random.random() < 0.5
        return dict.fromkeys(sorted(asked & fields), site + distance) if leads else {}

    def _at(self, site: int) -> bytes:
        start = site - self.base
        return self.text[start : start + GRID] if 0 <= start < END else bytes(GRID)

    def state(self, address: int, size: int) -> bytes:
        """Memory while the kernel runs: half of the words in the data are what their neighbours were built as."""
        start = (address ^ 8 if address & 16 else address) - self.base
        return self.text[start : start + size].ljust(size, b"\0") if start >= 0 else bytes(size)

    def _field(self, field: Field, site: int, own: int) -> int:
        random = self.random
        if field.name in ("len", "repl_len", "length"):
            return random.choice([0, 3, 5, 5, 8, GRID])
        if field.name == "cpuid":
            features = [number for number in self.spec.machine.features.values() if 0 <= number < 1 << field.bits]
            return random.choice([*features, random.getrandbits(field.bits)])
        if field.bits < 30:
            return random.getrandbits(field.bits)
        address = site if field.name in ("site", "caller") else self._place()
        if field.name == "key":
            address = self.base + random.randrange(DATA, END - 16, 8)
        return own + (address - own >> field.shift << field.shift) if field.relative else address

    def _spots(self, right: float) -> Iterator[int]:
        """Offsets of sites in order, now and then one that is not on the grid."""
        for at in range(TEXT, DATA, GRID):
            yield at if self.random.random() < right else at + self.random.choice([-1, 3])


class Refusal(NamedTuple):
    """An error: its class and message."""

    kind: str
    message: str


def made(make: Callable[[], T], error: type[Exception]) -> T | Refusal:
    """What is made, or how it was refused."""
    try:
        return make()
    except error as refused:
        return Refusal(type(refused).__name__, str(refused))


def rel32(opcode: int, address: int, to: int) -> bytes:
    return bytes([opcode]) + (to - address - 5).to_bytes(4, "little", signed=True)


def agreed(world: World, patch: Callable[[Any, bytearray], object]) -> tuple[bytes, object]:
    """The text that both kernels make of the world's, and what both return; they agree on all of it."""
    found = []
    for kernel, error in zip(world.kernels, (PatchError, world.module.PatchError), strict=True):
        text = bytearray(world.text)
        result = kernel if isinstance(kernel, Refusal) else made(partial(patch, kernel, text), error)
        found.append((bytes(text), result))
    assert found[0] == found[1]
    return found[0]


def applied(world: World, method: str, *tables: object, **how: object) -> tuple[bytes, object]:
    """As `agreed`, for a method that takes tables, the text and its base."""
    return agreed(world, lambda kernel, text: getattr(kernel, method)(*tables, text, world.base, **how))


def site_patched(world: World, type_: int, clobber: int, length: int) -> tuple[bytes, object]:
    """As `agreed`, for one site, which is the text's beginning."""

    def patch(kernel: Any, text: bytearray) -> int:
        insnbuf = memoryview(text)[:length]
        used: int = kernel.patch(type_, clobber, insnbuf, world.base, length)
        kernel.pad(insnbuf, used, length)
        return used

    return agreed(world, patch)


def worlds(kernel: Shipped, rounds: int = ROUNDS) -> Iterator[World]:
    for backend in (*both(kernel)[0].backends, None):
        for number in range(rounds):
            yield World(kernel, backend, f"{kernel} {backend} {number}")


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
class TestBothAreOne:
    def test_what_they_decide(self, kernel: Shipped) -> None:
        """Features and nops, by CPUs and command lines."""
        decided = set[object]()
        for world in worlds(kernel, 30):
            one, other = world.kernels
            if isinstance(one, Refusal):
                assert one == other
                continue
            assert (one.features, one.nops_name, one.nops) == (other.features, other.nops_name, other.nops)
            decided.add((one.features, one.nops_name))
        assert len(decided) > 40

    def test_single_sites(self, kernel: Shipped) -> None:
        """Each op by each backend, in sites of any length."""
        outcomes = Counter[str]()
        for world in worlds(kernel):
            for number in world.numbers if world.backend else ():
                length, clobber = world.random.randrange(GRID + 1), world.random.choice([0, 1, world.everything])
                text, result = site_patched(world, number, clobber, length)
                outcomes["refused" if isinstance(result, Refusal) else "kept" if text == world.text else "new"] += 1
        assert outcomes["new"] > 100, outcomes

    def test_tables_of_sites(self, kernel: Shipped) -> None:
        outcomes, interface = Counter[str](), both(kernel)[0].interface
        layout = None if interface is None else interface.layout
        if layout is None:
            return
        for world in worlds(kernel):
            table = world.sites(layout)
            for part in (table, table[: 3 * layout.size]):
                _, result = applied(world, "apply", part)
                outcomes["refused" if isinstance(result, Refusal) else "patched"] += 1
        assert min(outcomes["refused"], outcomes["patched"]) > 3, outcomes

    def test_tables_of_families(self, kernel: Shipped) -> None:
        """Each family's has something to patch at least once, but for what only a running kernel knows."""
        families = both(kernel)[0].families
        patched = {name for name, family in families.items() if "elsewhere" in str(family.reads)}
        for world in worlds(kernel, 100):
            if patched == families.keys():
                break
            where = world.base + TABLES
            for name, family in families.items():
                table = world.records(family, where)
                tables = {name: (table, where)}
                text, _ = applied(world, "apply_passes", tables, order=(name,), state=world.state)
                patched |= {name} if text != world.text else set()
        assert patched == families.keys()

    def test_all_passes(self, kernel: Shipped) -> None:
        """Several tables at once, at times all, by the quick way and by pokes."""
        patched = 0
        for world in worlds(kernel):
            tables = {}
            several = world.random.sample([*world.spec.families], world.random.randint(1, len(world.spec.families)))
            for at, (name, family) in enumerate(((name, world.spec.families[name]) for name in several), 1):
                where = world.base + at * TABLES
                tables[name] = world.records(family, where)[: 2 * family.layout.size], where
            found = applied(world, "apply_passes", tables, state=world.state)
            assert applied(world, "apply_passes", tables, state=world.state, strategy="breakpoint") == found
            patched += found[0] != world.text
        assert patched
