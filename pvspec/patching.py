"""A spec's module and a kernel image brought together: the kernel bound, its tables found."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pvspec.kernel import ImageError, KernelImage
from pvspec.resources import resource


class PatchingError(Exception):
    """A kernel cannot be patched with a spec; the message says why and what to do."""


@dataclass(frozen=True)
class Choices:
    """What the bytes depend on besides spec and image."""

    backend: str
    nops: str | None = None
    features: tuple[str | int, ...] = ()
    cpus: int | None = None
    options: Mapping[str, bool] | None = None


@dataclass(frozen=True)
class Bound:
    """A kernel of a generated module bound to an image, and the image's tables by pass: (bytes, address)."""

    module: ModuleType
    kernel: Any
    image: KernelImage
    tables: dict[str, tuple[bytes, int]]

    def layout(self, name: str) -> Any:
        """The layout of a pass's table."""
        spec = self.module.SPEC
        return spec.families[name].layout if name in spec.families else spec.interface.layout

    def patched(self) -> tuple[bytearray, int]:
        """The image's memory after all passes, and the number of pokes; PatchingError."""
        memory = bytearray(self.image.memory)
        try:
            pokes = self.kernel.apply_passes(self.tables, memory, self.image.base, executable=self.image.executable)
        except self.module.PatchError as error:
            raise PatchingError(f"{self.image.path}: {error}") from None
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
    raise PatchingError(f"{image.path}: no shipped spec for {shown} on {image.machine}; name one with --spec")


def bind(module: ModuleType, image: KernelImage, choices: Choices) -> Bound:
    """Bind what the image says of targets, symbols and protected functions; PatchingError."""
    spec = module.SPEC
    if spec.machine.bits != image.bits:
        raise PatchingError(f"{image.path}: a {image.bits}-bit image, a {spec.machine.bits}-bit spec")
    try:
        kernel = module.bind(
            choices.backend,
            targets=_targets(module, image, choices.options or {}),
            symbols=_symbols(spec, image),
            options=choices.options,
            nops=choices.nops,
            features=choices.features,
            cpus=choices.cpus,
            protect=_protected(spec, image),
        )
    except module.PatchError as error:
        raise PatchingError(str(error)) from None
    except ImageError as error:
        raise PatchingError(str(error)) from None
    return Bound(module, kernel, image, _tables(spec, image))


def _tables(spec: Any, image: KernelImage) -> dict[str, tuple[bytes, int]]:
    layouts = {name: family.layout for name, family in spec.families.items()}
    if spec.interface is not None:
        layouts[spec.interface.name] = spec.interface.layout
    found = {name: _table(layout, image) for name, layout in layouts.items()}
    return {name: table for name, table in found.items() if table is not None}


def _table(layout: Any, image: KernelImage) -> tuple[bytes, int] | None:
    """A table's bytes and address; None if the image has no such section, or not the symbols around the table."""
    if layout.bounds is None:
        section = image.sections.get(layout.section)
        return None if section is None else (image.section_bytes(section.name), section.address)
    start, end = (image.symbols.address(name) for name in layout.bounds)
    if start is None or end is None:
        return None
    return image.read(start, end - start), start


def _names(spec: Any) -> list[Any]:
    parties = [*spec.backends.values(), *spec.families.values(), spec.interface]
    return [party.names for party in parties if party is not None]


def _symbols(spec: Any, image: KernelImage) -> dict[str, int]:
    wanted = {name for names in _names(spec) for name in names.symbols}
    found = {name: image.resolve(name) for name in sorted(wanted)}
    return {name: address for name, address in found.items() if address is not None}


def _protected(spec: Any, image: KernelImage) -> dict[str, tuple[int, int]]:
    wanted = {name for names in _names(spec) for name in names.protects}
    kernel = image.kernel or image
    found = {name: kernel.symbols.extent(name) for name in sorted(wanted)}
    return {name: extent for name, extent in found.items() if extent is not None}


def _targets(module: ModuleType, image: KernelImage, options: Mapping[str, bool]) -> dict[int, int]:
    """What the image's own table of ops holds, found through the sites that name it."""
    interface, pointer = module.SPEC.interface, image.bits // 8
    if interface is None or interface.layout.section not in image.sections:
        return {}
    section = image.sections[interface.layout.section]
    table = image.section_bytes(section.name)
    _check_resolved(image, list(module.parse_sites(table, section.address)))
    try:
        start = module.find_table(interface, pointer, table, section.address, image.read)
    except ImageError as error:
        raise PatchingError(f"{section.name}: a site is not where the image is: {error}") from None
    holder = image.kernel or image
    if start is None:
        return {}
    settings = {**interface.names.options, **options}
    numbers = list(interface.numbers[tuple(settings[name] for name in interface.names.options)])
    return _readable(module, numbers, start, pointer, holder)


def _check_resolved(image: KernelImage, sites: Sequence[Any]) -> None:
    """A module's sites name the kernel's table of ops, so without the kernel they name nothing."""
    waiting = sorted(image.unresolved)
    for site in sites:
        index = bisect_left(waiting, (site.addr,))
        if index < len(waiting) and waiting[index].address < site.addr + site.len:
            raise PatchingError(
                f"{image.path}: site {site.addr:#x} of {_section(image, site.addr)} waits for the symbol "
                f"{waiting[index].symbol}; name the kernel that loads this module with --vmlinux"
            )


def _section(image: KernelImage, address: int) -> str:
    inside = (s.name for s in image.sections.values() if s.allocated and s.address <= address < s.end)
    return next(inside, "no section")


def _readable(
    module: ModuleType, numbers: Iterable[int], start: int, pointer: int, holder: KernelImage
) -> dict[int, int]:
    inside = [n for n in numbers if holder.base <= start + n * pointer <= holder.end - pointer]
    targets: dict[int, int] = module.read_targets(inside, start, pointer, holder.read)
    return targets
