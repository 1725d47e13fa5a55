"""What a CPU says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pvspec.prediction.cpu import CpuError, parse_cpuinfo, read_cpu
from pvspec.support.paths import resource
from tests.fuzz.loop import Target

_KEYS = (b"processor", b"cpu family", b"model", b"stepping", b"flags", b"bugs", b"vendor_id", b"\t: ", b"\n", b"0x17")
_STATES = (
    b"spectre_v2",
    b"retbleed",
    b":",
    b"Mitigation: ",
    b"Vulnerable",
    b"Not affected",
    b"/",
    b"\n",
    b"\0",
    b"\xff",
)
_PROFILES = ("Haswell", "EPYC", "pentium3")


def _profiles() -> Iterator[bytes]:
    for name in _PROFILES:
        text = resource("specs", "cpus", f"{name}.cpuinfo").read_bytes()
        yield text
        yield text.replace(b"flags", b"flags\t: fpu\nold") * 2


def _cpuinfo(data: bytes) -> str:
    try:
        cpu = parse_cpuinfo(data.decode("utf-8", "replace"), "cpuinfo")
    except CpuError as error:
        assert str(error).startswith("cpuinfo: ")
        return str(error)
    assert all(part.strip() for part in cpu.flags)
    assert cpu.count <= data.count(b"processor")
    return ""


def _sysfs() -> Iterator[bytes]:
    yield b"spectre_v2:Mitigation: Retpolines; IBPB: conditional\nl1tf:Not affected\n"
    yield b"/sys/devices/system/cpu/vulnerabilities/mds:Vulnerable: Clear CPU buffers attempted\n\nretbleed\n"


@cache
def _file() -> Path:
    return Path(mkdtemp(), "vulnerabilities")


def _vulnerabilities(data: bytes) -> str:
    _file().write_bytes(data)
    try:
        said = read_cpu("Haswell", str(_file())).vulnerabilities
    except CpuError as error:
        assert str(error).startswith(str(_file()))
        return str(error)
    assert all(name == name.strip() and "/" not in name for name in said)
    return ""


def targets() -> Iterator[Target]:
    yield Target("cpuinfo", True, _profiles, _KEYS, _cpuinfo)
    yield Target("vulnerabilities", True, _sysfs, _STATES, _vulnerabilities)
