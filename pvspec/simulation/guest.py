"""Building the guest: its memory, its sites, and the spec bound to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchError, PvspecError
from pvspec.engine.facts import Facts, protected_names, symbol_names
from pvspec.engine.records import PatchSite, build_records
from pvspec.engine.spec import Interface, Spec
from pvspec.simulation.kernel_text import KERNEL_TEXT, OPS, ROM_CALLS, call, function, functions, slot
from pvspec.x86.assembler import assemble
from pvspec.x86.code import Code
from pvspec.x86.emulator.machine import PAGE, Machine, Region

TEXT = Region(0xC0100000, 2 * PAGE)
DETOURS = TEXT.start + PAGE  # copies of sites, for a processor that meets a breakpoint
RETURN = DETOURS - 16  # where a function that the machine calls returns to
DATA = Region(0xC0110000, PAGE)
STACKS = (Region(0xC0120000, PAGE), Region(0xC0122000, PAGE))
TABLES = Region(0xC0130000, 8 * PAGE)
ROM = Region(0xFC000000, PAGE)
WRITABLE = (DATA, *STACKS, TABLES)
WINDOW = 0xD0000000  # where vmap() maps two pages

_OPS_TABLE = DATA.start + 0x400  # struct paravirt_ops
_DATA = {
    "swapper_pg_dir": TABLES.start,
    "vcpu_info": DATA.start,
    "irq_enabled": DATA.start + 4,
    "window": WINDOW,
}
_INTERRUPTS_ON = bytes(4) + (0x200).to_bytes(4, "little")  # vcpu_info and irq_enabled
_ALIGNMENT = 16  # bytes between the starts of functions


class SimulationError(PvspecError):
    """The guest cannot be built from this spec and backend; the message says why."""


class Site(NamedTuple):
    """A site: `type`, `addr`, `len` and `clobber` as in its record, and the original instructions."""

    op: str
    type: int
    addr: int
    len: int
    clobber: int
    original: bytes

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.addr + self.len


@dataclass(frozen=True)
class Guest:
    """A small kernel. `memory`: its contents by kernel address. `sites` are in the order of their table.

    `symbols`: addresses of functions and data. `detours`: by site address, the address of a copy of its instructions.
    """

    interface: Interface
    backend: str
    kernel: Kernel
    sites: tuple[Site, ...]
    symbols: Mapping[str, int]
    memory: Mapping[int, bytes]
    detours: Mapping[int, int]

    def machine(self, writable: Collection[Region] = WRITABLE) -> Machine:
        """A new machine with the guest's memory; `writable` are the regions that the guest may write to."""
        machine = _machine(writable)
        for address, data in self.memory.items():
            machine.write(address, data)
        return machine

    def table(self, sites: Iterable[Site]) -> bytes:
        """The section of the sites' records, in this order."""
        assert self.interface.layout is not None
        records = (PatchSite(site.addr, site.type, site.len, site.clobber)._asdict() for site in sites)
        return build_records(self.interface.layout, records)

    def patched(self, site: Site) -> bytes:
        """What a site must become, according to the patch function and the padding."""
        insnbuf = bytearray(site.original)
        used = self.kernel.patch(site.type, site.clobber, insnbuf, site.addr, site.len)
        self.kernel.pad(insnbuf, used, site.len)
        return bytes(insnbuf)

    def instructions(self, site: Site) -> int:
        """How many instructions a site has before it is patched."""
        return len(call(site.op))

    @property
    def text(self) -> bytes:
        """The text before anything is patched; it starts at `TEXT.start`."""
        return self.memory[TEXT.start]

    def name(self, address: int) -> str:
        """A code address relative to its function, as in `vmap+0x3`; any other as a number."""
        starts = {start: name for name, start in self.symbols.items() if _is_code(start) and start <= address}
        if not starts or not _is_code(address):
            return f"{address:#x}"
        start = max(starts)
        return f"{starts[start]}+{address - start:#x}"


def build(spec: Spec, backend: str) -> Guest:
    """The guest for one backend of a spec; SimulationError if they do not fit together."""
    interface = _interface(spec)
    numbers = _numbers(interface)
    rom = {function(backend, op) for op in ROM_CALLS.get(backend, {}).values()}
    sources = {**KERNEL_TEXT, **functions(backend)}
    slots = {slot(op): _OPS_TABLE + 4 * number for op, number in numbers.items()}
    data = {**slots, **_DATA, "window_entry": _machine().entry(WINDOW)}
    code = {name: assemble(text, 32, {*sources, *data}) for name, text in sources.items()}
    addresses = {**_addresses(code, TEXT.start, code.keys() - rom), **_addresses(code, ROM.start, rom)}
    symbols = {**data, **addresses}
    linked = {name: code[name].filled(address, symbols) for name, address in addresses.items()}
    sites = tuple(_sites(code, linked, addresses, numbers))
    detours = {site.addr: DETOURS + 64 * number for number, site in enumerate(sites)}
    targets = {numbers[op]: addresses[function(backend, op)] for op in OPS}
    in_text = [(addresses[name], linked[name]) for name in addresses if name not in rom]
    in_text += [(detours[site.addr], _detour(site, detours[site.addr])) for site in sites]
    memory = {
        TEXT.start: _image(TEXT, in_text),
        ROM.start: _image(ROM, [(addresses[name], linked[name]) for name in rom]),
        DATA.start: _INTERRUPTS_ON,
        **{_OPS_TABLE + 4 * number: target.to_bytes(4, "little") for number, target in targets.items()},
    }
    text_poke = addresses["text_poke"], addresses["text_poke"] + len(linked["text_poke"])
    known = {name: address for name, address in symbols.items() if name in symbol_names(spec)}
    kernel = _bound(spec, backend, targets, known, symbols, text_poke)
    return Guest(interface, backend, kernel, sites, symbols, memory, detours)


def _machine(writable: Collection[Region] = WRITABLE) -> Machine:
    regions = [Region(region.start, region.size, region in writable) for region in (TEXT, ROM, *WRITABLE)]
    return Machine(regions, TABLES.start, (WINDOW,))


def _is_code(address: int) -> bool:
    return any(region.start <= address < region.start + region.size for region in (TEXT, ROM))


def _interface(spec: Spec) -> Interface:
    if spec.machine.bits != 32 or spec.interface is None or spec.interface.layout is None:
        raise SimulationError("the spec does not fit the guest, an i386 with a table of ops' sites")
    return spec.interface


def _numbers(interface: Interface) -> dict[str, int]:
    """Op numbers by name, with the spec's default options."""
    numbers = interface.numbers[tuple(interface.names.options.values())]
    found = {op: number for number, op in numbers.items()}
    for op in OPS:
        if op not in found:
            raise SimulationError(f"the guest calls the op {op}, which {interface.name} lacks")
    return {op: found[op] for op in OPS}


def _bound(
    spec: Spec,
    backend: str,
    targets: Mapping[int, int],
    symbols: Mapping[str, int],
    functions: Mapping[str, int],
    text_poke: tuple[int, int],
) -> Kernel:
    calls = ROM_CALLS.get(backend, {})

    def relocation(number: int) -> int:
        """The ROM's answer: a call, to this function."""
        return 1 << 32 | functions[function(backend, calls[number])]

    rom = {"relocation": relocation} if calls else {}
    try:
        protect = {"text_poke": text_poke} if "text_poke" in protected_names(spec) else {}
        return Kernel(Facts(spec, backend, targets=targets, symbols=symbols, rom=rom, protect=protect))
    except PatchError as error:
        raise SimulationError(str(error)) from None


def _addresses(code: Mapping[str, Code], start: int, names: Collection[str]) -> dict[str, int]:
    """Addresses of functions, one after the other."""
    addresses = {}
    for name in (name for name in code if name in names):
        addresses[name] = start
        start += -(-len(code[name].data) // _ALIGNMENT) * _ALIGNMENT
    return addresses


def _sites(
    code: Mapping[str, Code], linked: Mapping[str, bytes], addresses: Mapping[str, int], numbers: Mapping[str, int]
) -> Iterator[Site]:
    """The sites that the functions' sources hold: each is the instructions of a call to an op."""
    for name, address in addresses.items():
        instructions = code[name].instructions
        for op in OPS:
            statements = call(op)
            for index in range(len(instructions)):
                found = instructions[index : index + len(statements)]
                if tuple(instruction.source.strip() for instruction in found) == statements:
                    start, end = found[0].offset, found[-1].offset + found[-1].size
                    # CLBR_EAX where the call saves the rest, else CLBR_ANY
                    clobber = 1 if OPS[op].saves else 7
                    yield Site(op, numbers[op], address + start, end - start, clobber, linked[name][start:end])


def _image(region: Region, pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """A region of code, with int3 in the gaps."""
    image = bytearray(b"\xcc" * region.size)
    for address, code in pieces:
        offset = address - region.start
        image[offset : offset + len(code)] = code
    return bytes(image)


def _detour(site: Site, address: int) -> bytes:
    """A site's instructions, which are position-independent, and a jump to what follows the site."""
    distance = site.end - (address + site.len + 5)
    return site.original + b"\xe9" + distance.to_bytes(4, "little", signed=True)
