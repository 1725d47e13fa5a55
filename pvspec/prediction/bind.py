"""A spec and a kernel image brought together: the kernel bound to its facts, its tables found."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchError, StateError
from pvspec.engine.facts import Facts, protected_names, symbol_names
from pvspec.engine.records import PatchSite, build_records, parse_sites
from pvspec.engine.slots import find_table, read_targets
from pvspec.engine.spec import Layout, Spec
from pvspec.kernel import ImageError, KernelImage
from pvspec.kernel.dump.dump import Dump
from pvspec.kernel.work import Work
from pvspec.prediction import parameters
from pvspec.prediction.limits import check_work, left_out
from pvspec.prediction.machine import NATIVE, Machine, PredictionError
from pvspec.prediction.told import Told
from pvspec.prediction.worlds import Worlds, find_worlds

# units of work: a symbol that is compared with a pattern, one that matches, a record whose padding is undone
_LOOKED_AT_WORK, _MATCHED_WORK, _PADDING_WORK = 2, 40, 3
Tables = Mapping[str, tuple[bytes, int]]


@dataclass(frozen=True)
class Memory:
    """Memory as it is while a kernel runs: of a dump, else of the image as it was built. A module's own is as built."""

    image: KernelImage
    dump: Dump | None

    def __call__(self, address: int, size: int) -> bytes:
        """`size` bytes at an address; StateError where they are not known."""
        image = self.image
        holder: KernelImage | Dump = self.dump or image.kernel or image
        if image.kernel is not None and image.base <= address < image.end:
            holder = image
        try:
            return holder.read(address, size)
        except ImageError as error:
            raise StateError(str(error)) from None


@dataclass(frozen=True, repr=False)
class Bound:
    """A kernel of a spec bound to an image, and the image's tables by pass: (bytes, address).

    `work` is what image, dump and tables ask for. `worlds`: the kernels that it may be as well, since something is
    open of its machine; `warnings`: what may be amiss in what is said of that.
    """

    kernel: Kernel
    image: KernelImage
    tables: Tables
    state: Memory
    work: Work
    worlds: Worlds
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Bound({self.image.release} on {self.image.machine}, {len(self.tables)} tables)"

    @property
    def spec(self) -> Spec:
        """The spec by which the kernel patches itself."""
        return self.kernel.spec

    @property
    def dump(self) -> Dump | None:
        """The memory of the running kernel, if there is one."""
        return self.state.dump

    def layout(self, name: str) -> Layout:
        """The layout of a pass's table."""
        return layouts(self.spec)[name]

    def records(self, name: str) -> int:
        """How many records a pass's table has."""
        layout, (table, _) = self.layout(name), self.tables[name]
        whole = -(-len(table) // layout.size)
        if not layout.padded:
            return whole
        return sum(any(table[at : at + layout.size]) for at in range(0, len(table), layout.size))

    def absence(self, name: str) -> str:
        """Why the image has no table for a pass."""
        layout = self.layout(name)
        if layout.patterns:
            return f"the image has no symbols {layout.section}"
        if layout.bounds is None:
            return f"the image has no section {layout.section}"
        return f"no symbols {layout.section}; --symbols System.map may have them"

    def patched(self) -> tuple[bytearray, int]:
        """The image's memory after all passes, and the number of pokes; PredictionError."""
        memory = bytearray(self.image.memory)
        try:
            pokes = self.kernel.apply_passes(
                self.tables, memory, self.image.base, executable=self.image.executable, state=self.state
            )
        except PatchError as error:
            raise PredictionError(f"{self.image.name}: {error}") from None
        return memory, pokes


def bind(spec: Spec, image: KernelImage, machine: Machine, dump: Dump | None = None) -> Bound:
    """Bind what machine, image and dump say of CPU, targets, symbols, tables and protected functions.

    PredictionError: what the spec decides by is missing, or the image is none that it can patch.
    """
    machine.check()
    if spec.machine.bits != image.bits:
        raise PredictionError(f"{image.name}: a {image.bits}-bit image, a {spec.machine.bits}-bit spec")
    if spec.policy and machine.cpu is None and not machine.features:
        raise PredictionError("no CPU given: use --cpu PROFILE or --cpu FILE (a /proc/cpuinfo), or --features")
    told = Told(spec, image, machine, dump)
    try:
        symbols, protected = _symbols(spec, image), _protected(spec, image)
        work = _work_of(image, dump)
        tables = _tables(spec, image, work)
        ops = _Functions(spec, image, dump, machine.options)
        facts = Facts(
            spec,
            _backend(spec, machine),
            targets=ops.targets(),
            settled=dump is not None,
            tables=ops.tables(),
            symbols=symbols,
            options=machine.options,
            nops=machine.nops,
            features=told.shown,
            cpu=told.cpu,
            cpus=told.cpus,
            cmdline=machine.cmdline,
            vulnerabilities=machine.cpu.vulnerabilities if machine.cpu else None,
            protect=protected,
            assumed=told.features,
            answers=told.answers,
            config=_config(spec, machine),
        )
        is_whole = machine.cpu is not None and machine.cpu.hidden is not None
        worlds = find_worlds(facts, machine.likely, tables, work, whole=is_whole)
        told.check(worlds)
        _check_work(spec, tables, work, image, left_out(worlds.predicted, tables))
        warnings = *told.warnings(), *parameters.warnings(worlds.predicted.line, image)
        return Bound(worlds.predicted, image, tables, Memory(image, dump), work, worlds, warnings)
    except (PatchError, ImageError) as error:
        raise PredictionError(str(error)) from None


def _work_of(image: KernelImage, dump: Dump | None) -> Work:
    """What image and dump have asked for so far, to go on from for one prediction."""
    work = image.work.continued()
    work.add(0 if dump is None else dump.units, f"{image.name}: its dump")
    return work


def _backend(spec: Spec, machine: Machine) -> str | None:
    return None if not spec.backends and machine.hypervisor == NATIVE else machine.hypervisor


def _config(spec: Spec, machine: Machine) -> dict[str, bool] | None:
    """What the spec asks of the kernel's configuration, if that is known."""
    config = machine.config
    return None if config is None else {name: config.get(name, False) for name in spec.configs}


def layouts(spec: Spec) -> dict[str, Layout]:
    """The layouts of all tables, by pass."""
    found = {name: family.layout for name, family in spec.families.items()}
    if spec.interface is not None and spec.interface.layout is not None:
        found[spec.interface.name] = spec.interface.layout
    return found


def _tables(spec: Spec, image: KernelImage, work: Work) -> dict[str, tuple[bytes, int]]:
    """The tables that the image has; ImageError if it takes too much to find them, or would to apply all of them."""
    found = {name: _table(layout, image, work) for name, layout in layouts(spec).items()}
    tables = {name: table for name, table in found.items() if table is not None}
    _check_work(spec, tables, work.continued(), image)
    return tables


def _check_work(
    spec: Spec, tables: Tables, work: Work, image: KernelImage, leaving: frozenset[str] = frozenset()
) -> None:
    try:
        check_work(spec, tables, work, leaving)
    except ImageError as error:
        raise ImageError(f"{image.name}: {error}") from error


def _table(layout: Layout, image: KernelImage, work: Work) -> tuple[bytes, int] | None:
    """A table's bytes and address; None if the image has no such section, or not the symbols around the table."""
    if layout.patterns:
        table = build_records(layout, _of_symbols(layout.patterns, image, work))
        return (table, 0) if table else None
    if layout.bounds is None:
        section = image.sections.get(layout.section)
        return None if section is None else (image.section_bytes(section.name), section.address)
    start, end = (image.symbols.address(name) for name in layout.bounds)
    if start is None or end is None:
        return None
    table = image.read(start, end - start)
    if not (layout.padded and image.slide):
        return table, start
    work.add(len(table) // layout.size * _PADDING_WORK, f"{image.name}: a table of {len(table)} bytes")
    return _padding_undone(table, layout.size, image.slide), start


def _padding_undone(table: bytes, size: int, slide: int) -> bytes:
    """A table whose padding KASLR has moved with all else: such a record is the slide, and lies in no text.

    Records are zeroed (scripts/sorttable.c) when the table of relocations has been made.
    """
    records = (table[at : at + size] for at in range(0, len(table), size))
    return b"".join(bytes(size) if int.from_bytes(record, "little") == slide else record for record in records)


def _of_symbols(patterns: Mapping[str, str], image: KernelImage, work: Work) -> Iterator[dict[str, int]]:
    """A record for each symbol that the pattern of `site` matches; a field without a symbol is 0."""
    prefix, star, suffix = patterns["site"].partition("*")
    if not star:
        found = {name: image.symbols.address(pattern) or 0 for name, pattern in patterns.items()}
        yield from [found] if found["site"] else []
        return
    work.add(len(image.symbols) * _LOOKED_AT_WORK, f"{image.name}: its symbols")
    for symbol in image.symbols:
        name = symbol.name
        if name.startswith(prefix) and name.endswith(suffix) and len(name) >= len(prefix) + len(suffix):
            work.add(_MATCHED_WORK, f"{image.name}: its symbols {patterns['site']}")
            word = name[len(prefix) : len(name) - len(suffix)]
            fields = {field: pattern.replace("*", word) for field, pattern in patterns.items()}
            found = {field: image.symbols.address(name) or 0 for field, name in fields.items()}
            yield {**found, "site": symbol.address}


def _symbols(spec: Spec, image: KernelImage) -> dict[str, int]:
    found = {name: image.resolve(name) for name in sorted(symbol_names(spec))}
    return {name: address for name, address in found.items() if address is not None}


def _protected(spec: Spec, image: KernelImage) -> dict[str, tuple[int, int]]:
    kernel = image.kernel or image
    found = {name: kernel.symbols.extent(name) for name in sorted(protected_names(spec))}
    return {name: extent for name, extent in found.items() if extent is not None}


class _Functions:
    """The kernel's table of ops, and others like it, as the image or a dump has them."""

    def __init__(self, spec: Spec, image: KernelImage, dump: Dump | None, options: Mapping[str, bool]) -> None:
        self.spec = spec
        self.image = image
        self.holder = image.kernel or image
        self.dump = dump
        self.pointer = image.bits // 8
        self.interface = spec.interface
        self.numbers: list[int] = []
        if self.interface is not None:
            settings = {**self.interface.names.options, **options}
            self.numbers = list(self.interface.numbers[tuple(settings[n] for n in self.interface.names.options)])

    def targets(self) -> dict[int, int]:
        """Op number to function; none if the table is not found."""
        start = self._start()
        return {} if start is None else self._words(start, self.dump or self.holder)

    def tables(self) -> dict[str, dict[int, int]]:
        """The tables that backends take words from, by symbol; they are of the image, for they may be freed."""
        targets = (target for backend in self.spec.backends.values() for target in backend.targets)
        names = {str(target.symbol) for target in targets if target.table}
        found = {name: self.holder.symbols.address(name) for name in sorted(names)}
        return {name: self._words(start, self.holder) for name, start in found.items() if start is not None}

    def _words(self, start: int, holder: KernelImage | Dump) -> dict[int, int]:
        base, end, pointer = self.holder.base, self.holder.end, self.pointer
        inside = [n for n in self.numbers if base <= start + n * pointer <= end - pointer]
        return read_targets(inside, start, pointer, holder.read)

    def _start(self) -> int | None:
        """Where the table of ops lies: at its symbol, or where the image's sites say."""
        interface, image = self.interface, self.image
        if interface is None:
            return None
        named = None if interface.functions is None else self.holder.symbols.address(interface.functions)
        if named is not None or interface.layout is None or interface.layout.section not in image.sections:
            return named
        section = image.sections[interface.layout.section]
        table = image.section_bytes(section.name)
        _check_resolved(image, parse_sites(interface.layout, table, section.address))
        try:
            return find_table(interface, self.pointer, table, section.address, image.read)
        except ImageError as error:
            raise PredictionError(f"{section.name}: a site is not where the image is: {error}") from None


def _check_resolved(image: KernelImage, sites: Sequence[PatchSite]) -> None:
    """A module's sites name the kernel's table of ops, so without the kernel they name nothing."""
    waiting = sorted(image.unresolved)
    for site in sites:
        index = bisect_left(waiting, (site.addr,))
        if index < len(waiting) and waiting[index].address < site.addr + site.len:
            raise PredictionError(
                f"{image.name}: site {site.addr:#x} of {_section(image, site.addr)} waits for the symbol "
                f"{waiting[index].symbol}; name the kernel that loads this module with --vmlinux"
            )


def _section(image: KernelImage, address: int) -> str:
    inside = (s.name for s in image.sections.values() if s.allocated and s.address <= address < s.end)
    return next(inside, "no section")
