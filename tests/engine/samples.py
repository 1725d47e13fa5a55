"""A small spec in data, sites for it, and a slow and obvious model of what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pvspec.engine.apply import Kernel
from pvspec.engine.facts import Facts
from pvspec.engine.records import PatchSite, build_records
from pvspec.engine.spec import (
    Architecture,
    Backend,
    Bug,
    Chain,
    Code,
    Family,
    Field,
    Hole,
    Interface,
    Keep,
    Layout,
    Names,
    Query,
    Rom,
    Spec,
)

NOPS = tuple(bytes.fromhex(nop) for nop in ("90", "66 90", "0f 1f 00", "0f 1f 40 00"))
CLBR_ANY = 7

SITE_32 = Layout(
    ".para", 8, (Field("addr", 0, 32), Field("type", 32, 8), Field("len", 40, 8), Field("clobber", 48, 16))
)
SITE_64 = Layout(
    ".para", 16, (Field("addr", 0, 64), Field("type", 64, 8), Field("len", 72, 8), Field("clobber", 80, 16)), slack=4
)
# the same fields in records that do not come apart by columns
ODD_32 = Layout(
    ".para", 9, (Field("clobber", 0, 16), Field("type", 16, 8), Field("len", 24, 16), Field("addr", 40, 32))
)
ODD_64 = Layout(
    ".para", 13, (Field("clobber", 0, 16), Field("type", 16, 8), Field("len", 24, 16), Field("addr", 40, 64))
)
LAYOUTS = {32: (SITE_32, ODD_32), 64: (SITE_64, ODD_64)}


@dataclass(frozen=True)
class Op:
    """What the model knows of an op: bytes, whether a rel32 to its target fills the last four, what it clobbers."""

    code: bytes | None
    branches: bool = False
    clobbers: int = 0


OPS = {
    1: Op(bytes.fromhex("fa")),
    2: Op(bytes.fromhex("9c 58")),
    3: Op(b""),
    4: Op(None),
    5: Op(b"\xe8" + bytes(4), True, CLBR_ANY),
    6: Op(b"\xe9" + bytes(4), True),
    7: Op(bytes.fromhex("0f 20 d0 0f 22 d8 0f 06 0f 31"), clobbers=2),
    200: Op(b"\xe8" + bytes(4), True, 1),
}


def rel32(opcode: bytes, symbol: str = "target", where: str = "a.pvs:9", clobbers: int = 0) -> Code:
    hole = Hole(len(opcode), 4, symbol, 0, True, len(opcode) + 4, True)
    return Code(where, None, data=opcode + bytes(4), holes=(hole,), clobbers=clobbers)


def _rule(op: Op) -> Chain:
    if op.code is None:
        return (Keep("a.pvs:1"),)
    if op.branches:
        return (rel32(op.code[:1], clobbers=op.clobbers),)
    return (Code("a.pvs:2", None, data=op.code, clobbers=op.clobbers),)


def make_spec(
    bits: int = 32,
    layout: Layout | None = None,
    rules: Mapping[str, Chain] | None = None,
    families: Sequence[Family] = (),
    protects: Sequence[str] = (),
    roms: Mapping[str, Rom] | None = None,
) -> Spec:
    """The ops above; `rules` for more of them, numbered from 100."""
    more = dict(rules or {})
    numbers = {number: f"op{number}" for number in OPS} | {100 + at: name for at, name in enumerate(more)}
    chains = {f"op{number}": _rule(op) for number, op in OPS.items()} | more
    interface = Interface(
        "pv",
        layout or LAYOUTS[bits][0],
        250,
        {"eax": 1, "ecx": 2, "edx": 4},
        {(): numbers},
        names=Names(protects=frozenset(protects)),
    )
    machine = Architecture("pc", bits, {"FAST": 3}, frozenset(), {"nops": NOPS}, (("nops", None),))
    backend = Backend("native", chains, (), roms=roms or {})
    by_name = {family.name: family for family in families}
    return Spec(machine, interface, {"native": backend}, by_name, (*by_name, "pv"))


def make_kernel(spec: Spec | None = None, **bound: Any) -> Kernel:
    """A kernel of the spec, which asks for whatever symbols are bound."""
    spec = spec or make_spec()
    asked = spec.changed(probes=spec.probes | frozenset(bound.get("symbols", ())))
    return Kernel(Facts(asked, **{"backend": "native", **bound}))


def make_table(sites: Sequence[PatchSite], layout: Layout = SITE_32) -> bytes:
    return build_records(layout, [site._asdict() for site in sites])


def model(original: bytes, site: PatchSite, targets: Mapping[int, int], bits: int) -> bytes:
    """The site's bytes when it is patched."""
    op = OPS[site.type]
    in_use = any(op.clobbers >> bit & 1 > site.clobber >> bit & 1 for bit in range(16))
    if op.code is None or len(op.code) > site.len or in_use:
        return original
    code = op.code
    if op.branches:
        distance = (targets[site.type] - site.addr - 5) % 2**bits
        code = code[:1] + bytes(distance >> shift & 255 for shift in (0, 8, 16, 24))
    while len(code) < site.len:
        code += NOPS[min(4, site.len - len(code)) - 1]
    return code


def rom(number: int, chain: Chain) -> Rom:
    """A ROM whose answer is an address and a type of its own byte; only one type is known."""
    answer = Layout("", 5, (Field("eip", 0, 32), Field("type", 32, 8)))
    return Rom(answer, {number: chain}, (Bug("a.pvs:8", message="unknown answer"),))


def query(argument: int = 29) -> Query:
    return Query("a.pvs:7", rom="relocation", argument=argument)


def poke_to(pokes: list[tuple[int, bytes]]) -> Callable[[int, bytes], None]:
    def poke(address: int, code: bytes) -> None:
        pokes.append((address, bytes(code)))

    return poke
