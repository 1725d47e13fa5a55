"""What a CPU says of itself: a shipped profile, or a machine's own /proc/cpuinfo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pvspec.engine.errors import PvspecError
from pvspec.support.paths import resource

QEMU_MODEL = "qemu model"
"""A line of profiles only: it is a CPU model of QEMU's, with which KVM offers its guests less than with the host's."""


_MAX_TEXT = 64 << 20  # characters; the /proc/cpuinfo of 8192 processors has 13 million


class CpuError(PvspecError):
    """There is no such profile, or the file is not a /proc/cpuinfo; the message says why."""


@dataclass(frozen=True)
class Processor:
    """A CPU as /proc/cpuinfo describes it: `flags`, and its bugs as "bug NAME"; `count`: how many the file has, 0 in a
    profile.

    `vulnerabilities`: what the kernel that runs on it says of each, by file name.
    """

    vendor: str
    family: int
    model: int
    stepping: int
    flags: frozenset[str]
    count: int = 0
    vulnerabilities: Mapping[str, str] = field(default_factory=dict)


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
        if path.is_dir():
            said = {file.name: _text(file).strip() for file in sorted(path.iterdir()) if file.is_file()}
        else:
            lines = (line.partition(":") for line in _text(path).splitlines() if line.strip())
            said = {name.rpartition("/")[2].strip(): text.strip() for name, _, text in lines}
    except (OSError, ValueError) as error:
        raise CpuError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if _EVERYWHERE not in said:
        raise CpuError(f"{path}: not a kernel's report on vulnerabilities: it says nothing about {_EVERYWHERE}")
    return said


_EVERYWHERE = "spectre_v2"  # every kernel that has such files has this one (Linux 4.15 and later)


def _read_cpuinfo(name: str) -> Processor:
    known = profiles()
    path = resource("specs", "cpus", f"{name}.cpuinfo") if name in known else Path(name)
    try:
        text = _text(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CpuError(
            f"{name}: neither a profile nor a readable file ({reason}); profiles: {', '.join(known)}"
        ) from None
    return parse_cpuinfo(text, name)


def _text(path: Path) -> str:
    """The text of a file; OSError, ValueError if it is not one, or has no end."""
    with path.open(encoding="utf-8") as file:
        text = file.read(_MAX_TEXT + 1)
    if len(text) > _MAX_TEXT:
        raise ValueError(f"it is longer than {_MAX_TEXT} characters")
    return text


def parse_cpuinfo(text: str, name: str) -> Processor:
    """The first processor of a /proc/cpuinfo, and how many there are; CpuError."""
    entries: dict[str, str] = {}
    count = 0
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            count += key.strip() == "processor"
            entries.setdefault(key.strip(), value.removeprefix(" "))
    try:
        family, model, stepping = (int(entries[key], 0) for key in ("cpu family", "model", "stepping"))
        bugs = (f"bug {name}" for name in entries.get("bugs", "").split())
        named = [QEMU_MODEL] if QEMU_MODEL in entries else []
        flags = frozenset((*entries["flags"].split(), *bugs, *named))
        return Processor(entries["vendor_id"], family, model, stepping, flags, count)
    except KeyError as error:
        raise CpuError(f"{name}: not a /proc/cpuinfo: it lacks the line `{error.args[0]}`") from None
    except ValueError as error:
        raise CpuError(f"{name}: not a /proc/cpuinfo: {error}") from None
