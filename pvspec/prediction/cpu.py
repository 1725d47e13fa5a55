"""What a CPU says of itself: a shipped profile, or a machine's own /proc/cpuinfo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from pvspec.engine.errors import PvspecError
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.streams import read_bounded
from pvspec.support.paths import resource

QEMU_MODEL = "qemu model"
"""A line of profiles only: it is a CPU model of QEMU's, with which KVM offers its guests less than with the host's."""


_MAX_CPUINFO = 32 << 20
"""Bytes of a /proc/cpuinfo; that of 8192 processors, the most that Linux has, is half as long. A longer one is refused.
"""
_MAX_LINES = 500_000
"""Lines of a /proc/cpuinfo; that of 8192 processors has half as many. One with more is refused."""
_MAX_LINE = 1 << 16
"""Characters of one line of a /proc/cpuinfo, thirty times those of all flags. A file with a longer one is refused."""
_MAX_REPORT = 1 << 20
"""Bytes of a report on vulnerabilities, in one file or in a folder's files together. A longer one is refused."""
_MAX_FILES = 256
"""Files in a folder of reports on vulnerabilities; Linux has twenty. A folder with more is refused."""
_MAX_NUMBER = 1 << 16
"""A CPU's family, model, stepping, `siblings` and `cpu cores` are below this; larger ones are refused."""
_MAX_MICROCODE = 1 << 32
"""A microcode's revision is below this; a larger one is refused."""
_MAX_ADDRESS_BITS = 64
"""Bits of a physical address, by the line `address sizes`; more are refused."""


class CpuError(PvspecError):
    """There is no such profile, or the file is not a /proc/cpuinfo; the message says why."""


@dataclass(frozen=True)
class Processor:
    """A CPU as /proc/cpuinfo describes it: `flags`, and its bugs as "bug NAME"; `count`: how many the file has, 0 in a
    profile.

    `vulnerabilities`: what the kernel that runs on it says of each, by file name. None where the file lacks the line:
    `siblings` and `cores`, the threads and cores of one package that were online, `microcode`, its revision,
    `physical_bits` of an address, and `hidden`: the features, as specs call them, that the CPU has and Linux shows in
    no file. Linux writes no such line; shipped profiles have it.
    """

    vendor: str
    family: int
    model: int
    stepping: int
    flags: frozenset[str]
    count: int = 0
    vulnerabilities: Mapping[str, str] = field(default_factory=dict)
    siblings: int | None = None
    cores: int | None = None
    microcode: int | None = None
    physical_bits: int | None = None
    hidden: frozenset[str] | None = None

    @property
    def threads(self) -> int | None:
        """The threads of one core; None if the file does not tell: some hypervisors' guests have 0 cores there."""
        if not self.siblings or not self.cores:
            return None
        return -(-self.siblings // self.cores)  # one that is offline is not among the siblings

    @property
    def is_guest(self) -> bool:
        """Whether a hypervisor told its guest that it is one."""
        return "hypervisor" in self.flags


def profiles() -> list[str]:
    """The names of the shipped profiles."""
    return sorted(path.stem for path in resource("specs", "cpus").glob("*.cpuinfo"))


def read_cpu(name: str, vulnerabilities: str | None = None) -> Processor:
    """The CPU of a shipped profile, or of a file like /proc/cpuinfo; CpuError.

    `vulnerabilities` is a folder like /sys/devices/system/cpu/vulnerabilities, or a file of lines `name:text`, as
    `grep -r .` writes them.
    """
    processor = _read_cpuinfo(name)
    if vulnerabilities is None:
        return processor
    return replace(processor, vulnerabilities=_read_vulnerabilities(Path(vulnerabilities)))


def _read_vulnerabilities(path: Path) -> dict[str, str]:
    try:
        said = dict(_in_folder(path) if path.is_dir() else _in_lines(_text(path, _MAX_REPORT)))
    except (OSError, ValueError, ImageError) as error:
        raise CpuError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if _EVERYWHERE not in said:
        raise CpuError(f"{path}: not a kernel's report on vulnerabilities: it says nothing about {_EVERYWHERE}")
    return said


def _in_folder(folder: Path) -> Iterator[tuple[str, str]]:
    """A file each; what is no regular file is passed over."""
    files = sorted(islice(folder.iterdir(), _MAX_FILES + 1))
    if len(files) > _MAX_FILES:
        raise ValueError(f"it has more than {_MAX_FILES} files")
    room = _MAX_REPORT
    for file in files:
        if file.is_file():
            text = _text(file, _MAX_REPORT)
            room -= len(text)
            if room < 0:
                raise ValueError(f"its files have more than {_MAX_REPORT} bytes")
            yield file.name, text.strip()


def _in_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line.strip():
            name, _, said = line.partition(":")
            yield name.rpartition("/")[2].strip(), said.strip()


_DIGITS = 20  # of a number, with 0x
_SHOWN = 40  # characters of a line, in a message
_EVERYWHERE = "spectre_v2"  # every kernel that has such files has this one (Linux 4.15 and later)


def _read_cpuinfo(name: str) -> Processor:
    known = profiles()
    path = resource("specs", "cpus", f"{name}.cpuinfo") if name in known else Path(name)
    try:
        text = _text(path, _MAX_CPUINFO)
    except (OSError, ValueError, ImageError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CpuError(
            f"{name}: neither a profile nor a readable file ({reason}); profiles: {', '.join(known)}"
        ) from None
    return parse_cpuinfo(text, name)


def _text(path: Path, most: int) -> str:
    """The text of a file; OSError, ValueError or ImageError if it is not one, or has more than `most` bytes."""
    return read_bounded(path, most).decode("utf-8")


def parse_cpuinfo(text: str, name: str) -> Processor:
    """The first processor of a /proc/cpuinfo, and how many there are; CpuError."""
    entries: dict[str, str] = {}
    count = 0
    for line in _lines(text, name):
        key, colon, value = line.partition(":")
        if colon:
            key = key.strip()
            count += key == "processor"
            if count < 2:
                entries.setdefault(key, value.removeprefix(" ").removesuffix("\r"))
    try:
        family, model, stepping = (
            _number(entries[key], key, _MAX_NUMBER) for key in ("cpu family", "model", "stepping")
        )
        bugs = (f"bug {name}" for name in entries.get("bugs", "").split())
        named = [QEMU_MODEL] if QEMU_MODEL in entries else []
        flags = frozenset((*entries["flags"].split(), *bugs, *named))
        return Processor(
            entries["vendor_id"],
            family,
            model,
            stepping,
            flags,
            count,
            siblings=_optional(entries, "siblings", _MAX_NUMBER),
            cores=_optional(entries, "cpu cores", _MAX_NUMBER),
            microcode=_optional(entries, "microcode", _MAX_MICROCODE),
            physical_bits=_physical_bits(entries),
            hidden=frozenset(entries["hidden"].split()) if "hidden" in entries else None,
        )
    except KeyError as error:
        raise CpuError(f"{name}: not a /proc/cpuinfo: it lacks the line `{error.args[0]}`") from None
    except ValueError as error:
        raise CpuError(f"{name}: not a /proc/cpuinfo: {error}") from None


def _lines(text: str, name: str) -> list[str]:
    """The lines; CpuError if they are more, or longer, than those of any machine."""
    if not isinstance(text, str):
        raise CpuError(f"{name}: a /proc/cpuinfo is a text, and this {type(text).__name__}")
    if len(text) > _MAX_CPUINFO or text.count("\n") > _MAX_LINES:
        raise CpuError(f"{name}: not a /proc/cpuinfo: it has {len(text)} characters in {text.count(chr(10))} lines")
    lines = text.split("\n")
    longest = max(map(len, lines))
    if longest > _MAX_LINE:
        raise CpuError(f"{name}: not a /proc/cpuinfo: it has a line of {longest} characters")
    return lines


def _optional(entries: Mapping[str, str], key: str, below: int) -> int | None:
    """The number of a line that some kernels leave out, None without it; ValueError if it is none of a CPU's."""
    return _number(entries[key], key, below) if key in entries else None


def _physical_bits(entries: Mapping[str, str]) -> int | None:
    """Of a line such as `46 bits physical, 48 bits virtual`; None without it, ValueError if it is another one."""
    key = "address sizes"
    if key not in entries:
        return None
    bits, physical, _ = entries[key].partition(" bits physical")
    if not physical:
        raise ValueError(f"its {key} is {entries[key][:_SHOWN]!r}")
    return _number(bits, key, _MAX_ADDRESS_BITS + 1)


def _number(text: str, key: str, below: int) -> int:
    """The number of the line `key`; ValueError if it is none, or none of a CPU's."""
    number = int(text, 0) if len(text) <= _DIGITS else -1
    if not 0 <= number < below:
        raise ValueError(f"its {key} is {text[:_DIGITS]!r}")
    return number
