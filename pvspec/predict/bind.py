"""A spec's module and a kernel image brought together: the kernel bound, its tables found."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pvspec.kernel import ImageError, KernelImage
from pvspec.kernel.dump.dump import Dump
from pvspec.lang.diagnostics import suggestion
from pvspec.predict.cpu import Processor
from pvspec.predict.limits import MAX_WORK, work
from pvspec.support.paths import resource

NATIVE = "native"
_FEW = 12  # names, that a message may list


class PatchingError(Exception):
    """A kernel cannot be patched with a spec; the message says why and what to do."""


@dataclass(frozen=True)
class Choices:
    """What the bytes depend on besides spec and image.

    `features` are those that the kernel decided by; with a `cpu` those that it has besides, for the spec's policy,
    and `lacking` those that it has not, whatever it says. `backend` counts only where the spec has backends.
    """

    backend: str | None
    nops: str | None = None
    features: tuple[str | int, ...] = ()
    lacking: tuple[str, ...] = ()
    cpu: Processor | None = None
    cpus: int | None = None
    cmdline: str = ""
    options: Mapping[str, bool] | None = None


@dataclass(frozen=True)
class Bound:
    """A kernel of a generated module bound to an image, and the image's tables by pass: (bytes, address).

    `state` reads memory as it is while the kernel runs: of a dump, else of the image as it was built.
    """

    module: ModuleType
    kernel: Any
    image: KernelImage
    tables: dict[str, tuple[bytes, int]]
    state: Callable[[int, int], bytes]
    dump: Dump | None

    def layout(self, name: str) -> Any:
        """The layout of a pass's table."""
        spec = self.module.SPEC
        return spec.families[name].layout if name in spec.families else spec.interface.layout

    def records(self, name: str) -> int:
        """How many records a pass's table has."""
        layout, (table, _) = self.layout(name), self.tables[name]
        whole = -(-len(table) // int(layout.size))
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
        """The image's memory after all passes, and the number of pokes; PatchingError."""
        memory = bytearray(self.image.memory)
        try:
            pokes = self.kernel.apply_passes(
                self.tables, memory, self.image.base, executable=self.image.executable, state=self.state
            )
        except self.module.PatchError as error:
            raise PatchingError(f"{self.image.name}: {error}") from None
        return memory, pokes


def shipped_spec(image: KernelImage) -> Path:
    """The shipped spec for an image's version and machine; PatchingError if there is none."""
    version = re.match(r"(\d+\.\d+)(\.\d+)?", image.release)
    candidates = [f"linux-{version[0]}", f"linux-{version[1]}"] if version else []
    for name in candidates:
        try:
            return resource("specs", name, image.machine)
        except FileNotFoundError:
            continue
    shown = image.release or "an unknown version"
    raise PatchingError(f"{image.name}: no shipped spec for {shown} on {image.machine}; name one with --spec")


def bind(module: ModuleType, image: KernelImage, choices: Choices, dump: Dump | None = None) -> Bound:
    """Bind what image and dump say of targets, symbols, tables and protected functions; PatchingError."""
    spec = module.SPEC
    if spec.machine.bits != image.bits:
        raise PatchingError(f"{image.name}: a {image.bits}-bit image, a {spec.machine.bits}-bit spec")
    cpu = choices.cpu
    try:
        ops = _Functions(module, image, dump, choices.options or {})
        kernel = module.bind(
            _backend(spec, choices),
            targets=ops.targets(),
            settled=dump is not None,
            tables=ops.tables(),
            symbols=_symbols(spec, image),
            options=choices.options,
            nops=choices.nops,
            features=_features(spec, choices),
            cpu=None if cpu is None else module.Cpu(cpu.vendor, cpu.family, cpu.model, cpu.stepping),
            cpus=choices.cpus,
            cmdline=choices.cmdline,
            vulnerabilities=cpu.vulnerabilities if cpu else None,
            protect=_protected(spec, image),
        )
        tables = _tables(module, image)
        _check_work(module, image, tables)
    except (module.PatchError, ImageError) as error:
        raise PatchingError(str(error)) from None
    return Bound(module, kernel, image, tables, _state(module, image, dump), dump)


def _check_work(module: ModuleType, image: KernelImage, tables: Mapping[str, tuple[bytes, int]]) -> None:
    if work(module, tables) > MAX_WORK:
        records = {name: len(table) // _layouts(module)[name].size for name, (table, _) in tables.items()}
        most = max(records, key=lambda name: records[name])
        raise PatchingError(
            f"{image.name}: its tables have {sum(records.values())} records, {records[most]} of them in {most}: "
            "more work than any kernel's"
        )


def _backend(spec: Any, choices: Choices) -> str | None:
    if choices.backend is None or spec.backends or choices.backend != NATIVE:
        return choices.backend
    return None


def _features(spec: Any, choices: Choices) -> list[str | int]:
    """The features that a CPU shows, and those that it is said to have or to lack."""
    shown, known = spec.machine.shown, spec.machine.features
    for name in (*choices.features, *choices.lacking):
        if isinstance(name, str) and name not in known:
            few = f"there are: {', '.join(sorted(known))}" if len(known) <= _FEW else suggestion(name, known)
            raise PatchingError(f"there is no feature {name!r}; {few or f'the spec has {len(known)}, see its machine'}")
    lacking = {known[name] for name in choices.lacking}
    flags = choices.cpu.flags if choices.cpu else ()
    return [*choices.features, *({shown[flag] for flag in flags if flag in shown} - lacking)]


def _state(module: ModuleType, image: KernelImage, dump: Dump | None) -> Callable[[int, int], bytes]:
    """Reads a running kernel's memory; a module's own is as it was built."""

    def read(address: int, size: int) -> bytes:
        holder: KernelImage | Dump = image if dump is None else dump
        if image.kernel is not None:
            inside = image.base <= address < image.end
            holder = image if inside else dump or image.kernel
        try:
            return holder.read(address, size)
        except ImageError as error:
            raise module.StateError(str(error)) from None

    return read


def _layouts(module: ModuleType) -> dict[str, Any]:
    spec = module.SPEC
    layouts = {name: family.layout for name, family in spec.families.items()}
    if spec.interface is not None and spec.interface.layout is not None:
        layouts[spec.interface.name] = spec.interface.layout
    return layouts


def _tables(module: ModuleType, image: KernelImage) -> dict[str, tuple[bytes, int]]:
    found = {name: _table(module, layout, image) for name, layout in _layouts(module).items()}
    return {name: table for name, table in found.items() if table is not None}


def _table(module: ModuleType, layout: Any, image: KernelImage) -> tuple[bytes, int] | None:
    """A table's bytes and address; None if the image has no such section, or not the symbols around the table."""
    if layout.patterns:
        records = list(_of_symbols(layout.patterns, image))
        return (module.build_records(layout, records), 0) if records else None
    if layout.bounds is None:
        section = image.sections.get(layout.section)
        return None if section is None else (image.section_bytes(section.name), section.address)
    start, end = (image.symbols.address(name) for name in layout.bounds)
    if start is None or end is None:
        return None
    table = image.read(start, end - start)
    return (_padding_undone(table, layout.size, image.slide) if layout.padded and image.slide else table), start


def _padding_undone(table: bytes, size: int, slide: int) -> bytes:
    """A table whose padding KASLR has moved with all else: such a record is the slide, and lies in no text.

    Records are zeroed (scripts/sorttable.c) when the table of relocations has been made.
    """
    records = (table[at : at + size] for at in range(0, len(table), size))
    return b"".join(bytes(size) if int.from_bytes(record, "little") == slide else record for record in records)


def _of_symbols(patterns: Mapping[str, str], image: KernelImage) -> Iterator[dict[str, int]]:
    """A record for each symbol that the pattern of `site` matches; a field without a symbol is 0."""
    prefix, star, suffix = patterns["site"].partition("*")
    if not star:
        found = {name: image.symbols.address(pattern) or 0 for name, pattern in patterns.items()}
        yield from [found] if found["site"] else []
        return
    for symbol in image.symbols:
        name = symbol.name
        if name.startswith(prefix) and name.endswith(suffix) and len(name) >= len(prefix) + len(suffix):
            word = name[len(prefix) : len(name) - len(suffix)]
            fields = {field: pattern.replace("*", word) for field, pattern in patterns.items()}
            found = {field: image.symbols.address(name) or 0 for field, name in fields.items()}
            yield {**found, "site": symbol.address}


def _names(spec: Any) -> list[Any]:
    parties = [*spec.backends.values(), *spec.families.values(), spec.interface]
    return [party.names for party in parties if party is not None]


def _symbols(spec: Any, image: KernelImage) -> dict[str, int]:
    wanted = {name for names in _names(spec) for name in names.symbols} | spec.probes
    if spec.interface is not None and spec.interface.functions is not None:
        wanted.add(spec.interface.functions)
    found = {name: image.resolve(name) for name in sorted(wanted)}
    return {name: address for name, address in found.items() if address is not None}


def _protected(spec: Any, image: KernelImage) -> dict[str, tuple[int, int]]:
    wanted = {name for names in _names(spec) for name in names.protects}
    kernel = image.kernel or image
    found = {name: kernel.symbols.extent(name) for name in sorted(wanted)}
    return {name: extent for name, extent in found.items() if extent is not None}


class _Functions:
    """The kernel's table of ops, and others like it, as the image or a dump has them."""

    def __init__(self, module: ModuleType, image: KernelImage, dump: Dump | None, options: Mapping[str, bool]) -> None:
        self.module = module
        self.image = image
        self.holder = image.kernel or image
        self.dump = dump
        self.pointer = image.bits // 8
        self.interface = module.SPEC.interface
        if self.interface is not None:
            settings = {**self.interface.names.options, **options}
            self.numbers = list(self.interface.numbers[tuple(settings[n] for n in self.interface.names.options)])

    def targets(self) -> dict[int, int]:
        """Op number to function; none if the table is not found."""
        start = None if self.interface is None else self._start()
        return {} if start is None else self._words(start, self.dump or self.holder)

    def tables(self) -> dict[str, dict[int, int]]:
        """The tables that backends take words from, by symbol; they are of the image, for they may be freed."""
        backends = self.module.SPEC.backends.values()
        names = {target.symbol for backend in backends for target in backend.targets if target.table}
        found = {name: self.holder.symbols.address(name) for name in sorted(names)}
        return {name: self._words(start, self.holder) for name, start in found.items() if start is not None}

    def _words(self, start: int, holder: KernelImage | Dump) -> dict[int, int]:
        base, end, pointer = self.holder.base, self.holder.end, self.pointer
        inside = [n for n in self.numbers if base <= start + n * pointer <= end - pointer]
        words: dict[int, int] = self.module.read_targets(inside, start, pointer, holder.read)
        return words

    def _start(self) -> int | None:
        """Where the table of ops lies: at its symbol, or where the image's sites say."""
        interface, image = self.interface, self.image
        named = None if interface.functions is None else self.holder.symbols.address(interface.functions)
        if named is not None or interface.layout is None or interface.layout.section not in image.sections:
            return named
        section = image.sections[interface.layout.section]
        table = image.section_bytes(section.name)
        _check_resolved(image, list(self.module.parse_sites(table, section.address)))
        try:
            found: int | None = self.module.find_table(interface, self.pointer, table, section.address, image.read)
        except ImageError as error:
            raise PatchingError(f"{section.name}: a site is not where the image is: {error}") from None
        return found


def _check_resolved(image: KernelImage, sites: Sequence[Any]) -> None:
    """A module's sites name the kernel's table of ops, so without the kernel they name nothing."""
    waiting = sorted(image.unresolved)
    for site in sites:
        index = bisect_left(waiting, (site.addr,))
        if index < len(waiting) and waiting[index].address < site.addr + site.len:
            raise PatchingError(
                f"{image.name}: site {site.addr:#x} of {_section(image, site.addr)} waits for the symbol "
                f"{waiting[index].symbol}; name the kernel that loads this module with --vmlinux"
            )


def _section(image: KernelImage, address: int) -> str:
    inside = (s.name for s in image.sections.values() if s.allocated and s.address <= address < s.end)
    return next(inside, "no section")
