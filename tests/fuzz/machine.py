"""What a machine says of itself, as attackers make it: cpuinfo, vulnerabilities as lines and as a folder, and how its
kernel was configured."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from pvspec.prediction.config import ConfigError, read_config
from pvspec.prediction.cpu import CpuError, parse_cpuinfo, read_cpu
from pvspec.support.paths import resource
from tests.fuzz.cell import expected
from tests.fuzz.hostile import Hostile
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
_SET = (b"CONFIG_", b"SMP", b"=y", b"=m", b"=n", b"=", b"# ", b" is not set", b"\n", b'"', b"\0", b"\xff")
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
        return expected(error)
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
        return expected(error)
    assert all(name == name.strip() and "/" not in name for name in said)
    return ""


def made_processors(h: Hostile) -> bytes:
    """Processors, each with its lines, some of them odd."""
    text = b""
    for number in range(min(h.times(2, 20_000), 2000)):
        flags = b" ".join(
            h.one(b"f%d" % at, (b"erms", b"x" * 3000, b"\xff", b"-"))
            for at in range(min(h.times(5, 30_000), 20_000 if number == 0 else 9))
        )
        numbers = ((b"cpu family", 6), (b"model", 85), (b"stepping", 4))
        values = h.shuffled(
            [
                (b"processor", b"%d" % number),
                (b"vendor_id", h.one(b"GenuineIntel", (b"", b"x" * 9999))),
                (b"flags", flags),
                (b"bugs", h.data(b"l1tf mds")),
                *((key, _odd(h, value)) for key, value in numbers),
            ]
        )
        text += (
            b"".join(
                key + h.one(b"\t: ", (b":", b"", b"::", b"\0: ")) + value + h.one(b"\n", (b"\r", b"\x85", b"", b"\x1c"))
                for key, value in values
            )
            + b"\n"
        )
        if len(text) > 1 << 18:
            break
    return text


def _odd(h: Hostile, value: int) -> bytes:
    return h.one(
        b"%d" % h.unbounded(value),
        (b"0x%x" % h.unbounded(value), b"9" * h.times(20, 100_000), b"0b1", b"1_0", b"", b"0o7"),
    )


def made_lines(h: Hostile) -> bytes:
    said = (b"Mitigation: Retpolines", b"Vulnerable", b"", b"x" * h.times(9, 30_000), b"\xff", b"a:b:c")
    names = (b"spectre_v2", b"mds", b"/sys/x/l1tf", b"", b"/" * h.times(1, 9000), b"..", b"\0")
    return b"".join(
        h.one(h.random.choice(names[:3]), names)
        + h.one(b":", (b"", b"::"))
        + h.one(h.random.choice(said[:2]), said)
        + b"\n"
        for _ in range(min(h.times(5, 50_000), 8000))
    )


def _configurations() -> Iterator[bytes]:
    yield b"#\n# Linux/x86 6.1.192 Kernel Configuration\n#\nCONFIG_SMP=y\nCONFIG_KVM=m\n# CONFIG_XEN is not set\n"
    yield b'CONFIG_CC_VERSION_TEXT="gcc-12 (Debian) # 12"\nCONFIG_NR_CPUS=8192\n\nCONFIG_OFF=n\n'


def _config(data: bytes) -> str:
    _file().write_bytes(data)
    try:
        found = read_config(_file())
    except ConfigError as error:
        assert str(error).startswith(str(_file()))
        return expected(error)
    assert found
    assert all(name.isidentifier() or name[0].isdigit() for name in found)
    return ""


def made_config(h: Hostile) -> bytes:
    """Very many lines, or very long ones, some of them odd."""
    names = (b"SMP", b"x" * h.times(3, 90_000), b"", b"\xff", b"A B")
    values = (b"y", b"m", b"n", b"", b'"' + b"a" * h.times(3, 90_000) + b'"', b"0x10")
    lines = (
        h.one(b"CONFIG_", (b"", b"# CONFIG_", b"CONFIG")) + h.one(b"N%d" % at, names) + b"=" + h.one(b"y", values)
        if h.random.random() < 0.8
        else h.one(b"# CONFIG_M%d is not set" % at, (b"", b"#", b"# CONFIG_ is not set", b"\0"))
        for at in range(min(h.times(5, 90_000), 20_000))
    )
    return b"".join(line + h.one(b"\n", (b"\r\n", b"\x85", b"")) for line in lines)


def _as_folder(data: bytes) -> str:
    """The same lines as files of a folder; one that is empty is a folder, one that begins with a slash a link."""
    folder = _file().with_name("folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for line in data.splitlines()[:200]:
        name, _, text = line.partition(b":")
        path = folder / (name.rpartition(b"/")[2].decode("utf-8", "replace").replace("\0", "")[:60] or "empty")
        if path.exists() or path.is_symlink() or path == folder.parent:
            continue
        if name.startswith(b"/"):
            path.symlink_to("/dev/zero")
        elif text:
            path.write_bytes(text)
        else:
            path.mkdir(exist_ok=True)
    try:
        said = read_cpu("Haswell", str(folder)).vulnerabilities
    except CpuError as error:
        assert str(error).startswith(str(folder))
        return expected(error)
    assert all("/" not in name for name in said)
    return ""


def targets() -> Iterator[Target]:
    yield Target("cpuinfo", True, _profiles, _KEYS, _cpuinfo, made_processors)
    yield Target("vulnerabilities", True, _sysfs, _STATES, _vulnerabilities, made_lines)
    yield Target("vulnerabilities-folder", True, _sysfs, _STATES, _as_folder, made_lines)
    yield Target("config", True, _configurations, _SET, _config, made_config)
