"""A text full of sites, the rules for them, and the C loop that patches it: what Python is measured against."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pvspec.engine.apply import Kernel
from pvspec.engine.facts import Facts
from pvspec.engine.spec import Architecture, Backend, Chain, Code, Field, Hole, Interface, Keep, Layout, Spec

BASE = 0xC0100000
CLBR_ANY = 7
KINDS = {"keep": 0, "code": 1, "branch": 2}
NOPS = tuple(
    bytes.fromhex(nop)
    for nop in (
        "90",
        "6690",
        "0f1f00",
        "0f1f4000",
        "0f1f440000",
        "660f1f440000",
        "0f1f8000000000",
        "0f1f840000000000",
    )
)
# the inline ops of Linux 2.6.23's native backend, with how often their sites occur, in percent
INLINE = {"fa": 18, "fb": 14, "9c58": 22, "509d": 22, "0f20d0": 1, "0f22d8": 1, "0f06": 1, "0f31": 1, "0f0b": 1}
LENGTHS = {3: 1, 5: 20, 6: 26, 7: 29, 8: 12, 10: 12}


@dataclass(frozen=True)
class Op:
    """One op: what it becomes, the registers that this clobbers, and how often its sites occur, in percent."""

    kind: str
    code: bytes
    weight: float
    target: int = 0
    clobber: int = 0


@dataclass(frozen=True)
class Workload:
    """A text at BASE and its sites, (address, type, length, clobber mask) each, sorted and disjoint."""

    text: bytes
    sites: list[tuple[int, int, int, int]]
    ops: list[Op]

    def table(self, bits: int) -> bytes:
        """The records of struct paravirt_patch_site."""
        pack = struct.Struct("<IBBH" if bits == 32 else "<QBBH4x").pack
        return b"".join(pack(*site) for site in self.sites)


def make_ops(rng: random.Random, size: int) -> list[Op]:
    """Ops whose code stands inline, 32 that are called, two that are jumped to, one that is nothing, one kept."""
    calls = [Op("branch", b"\xe8" + bytes(4), 0.5, BASE + rng.randrange(size), CLBR_ANY) for _ in range(32)]
    jumps = [Op("branch", b"\xe9" + bytes(4), 0.25, BASE + rng.randrange(size)) for _ in range(2)]
    inline = [Op("code", bytes.fromhex(code), weight) for code, weight in INLINE.items()]
    return [*inline, *calls, *jumps, Op("code", b"", 2), Op("keep", b"", 0.5)]


def make_workload(count: int, size: int = 16 << 20, seed: int = 1) -> Workload:
    """So many sites in a text of so many bytes, one in each equal part of it; the same every time."""
    rng = random.Random(seed)
    ops, part = make_ops(rng, size), size // count
    types = rng.choices(range(len(ops)), [op.weight for op in ops], k=count)
    lengths = rng.choices(list(LENGTHS), list(LENGTHS.values()), k=count)
    sites = []
    for index, (type, length) in enumerate(zip(types, lengths, strict=True)):
        clobber = CLBR_ANY if rng.random() < 0.85 else rng.randrange(8)
        sites.append((BASE + index * part + rng.randrange(part - length + 1), type, length, clobber))
    return Workload(rng.randbytes(size), sites, ops)


def make_kernel(ops: list[Op], bits: int) -> Kernel:
    """The same rules as data, bound."""
    half = bits
    fields = Field("addr", 0, half), Field("type", half, 8), Field("len", half + 8, 8), Field("clobber", half + 16, 16)
    numbers = {number: f"op{number}" for number in range(len(ops))}
    interface = Interface("pv", Layout(".parainstructions", half // 4, fields), 254, {}, {(): numbers})
    rules = {f"op{number}": _chain(op) for number, op in enumerate(ops)}
    machine = Architecture("pc", bits, {}, frozenset(), {"p6": NOPS}, (("p6", None),))
    spec = Spec(machine, interface, {"native": Backend("native", rules, ())}, {}, ("pv",))
    return Kernel(Facts(spec, "native", targets={number: op.target for number, op in enumerate(ops)}))


def _chain(op: Op) -> Chain:
    if op.kind == "keep":
        return (Keep("benchmark:1"),)
    holes = (Hole(1, 4, "target", 0, True, 5, True),) if op.kind == "branch" else ()
    return (Code("benchmark:2", None, data=op.code, holes=holes, clobbers=op.clobber),)


class Anchor:
    """The C loop, built for one workload. `run` gives ns a site, and `image` is the patched text."""

    def __init__(self, workload: Workload, folder: Path) -> None:
        source = Path(__file__).with_name("anchor.c")
        self.folder = folder
        subprocess.run(["cc", "-O2", "-std=c11", "-o", folder / "anchor", source], check=True)
        (folder / "text").write_bytes(workload.text)
        (folder / "sites").write_bytes(workload.table(32))
        ops = workload.ops + [Op("keep", b"", 0)] * (256 - len(workload.ops))
        rows = (struct.pack("<IHBB8s", op.target, op.clobber, KINDS[op.kind], len(op.code), op.code) for op in ops)
        (folder / "ops").write_bytes(b"".join(rows))

    def run(self, reps: int) -> float:
        """The median of so many runs."""
        command = [self.folder / "anchor", *(self.folder / name for name in ("text", "sites", "ops"))]
        done = subprocess.run([*command, str(reps), self.folder / "image"], check=True, capture_output=True, text=True)
        return float(done.stdout)

    @property
    def image(self) -> bytes:
        """What the last run made of the text."""
        return (self.folder / "image").read_bytes()


@contextmanager
def anchor(workload: Workload) -> Iterator[Anchor]:
    """The C loop, in a folder that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pvspec-benchmark-"))
    try:
        yield Anchor(workload, folder)
    finally:
        shutil.rmtree(folder)
