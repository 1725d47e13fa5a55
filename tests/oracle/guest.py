"""What runs inside a booted machine: an initramfs of busybox and an init script, and what that sends.

The archive is of the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import base64
import gzip
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

MARKER = b"pvspec: guest is ready"
"""What an init prints on the console when all that it has to send is sent."""

_LOGGED = "pvspec: base64"
_START = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin /tmp
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
"""
_COLLECT = """mkdir /sent
for name in cpuinfo version cmdline iomem{kallsyms}; do cat /proc/$name > /sent/$name; done
cd /sys/devices/system/cpu/vulnerabilities && grep -H . * > /sent/vulnerabilities
dmesg > /sent/dmesg
tar -C /sent -cf - . | gzip -1 > /sent.tar.gz
"""
_SEND = """stty -F /dev/ttyS1 raw -echo
cat /sent.tar.gz > /dev/ttyS1
sleep 1
"""
_LOG = f"""base64 -w 800 /sent.tar.gz | while read -r line; do echo "{_LOGGED} $line" > /dev/kmsg; done
echo {MARKER.decode()} > /dev/kmsg
dd if=/dev/zero of=/dev/null bs=64k
"""
_SAY_AND_SLEEP = f"""echo {MARKER.decode()} > /dev/console
while :; do sleep 1000; done
"""


def init(body: str) -> str:
    """An init that does `body`, in a shell with busybox's commands, and prints the marker."""
    return _START + body + _SAY_AND_SLEEP


def sending(*, kallsyms: bool) -> str:
    """The init that sends files of the guest, a .tar.gz, over the second serial line.

    They are cpuinfo, version, cmdline, iomem, vulnerabilities ("name:text" lines) and dmesg, and if wanted kallsyms,
    which are megabytes.
    """
    return init(_COLLECT.format(kallsyms=" kallsyms" if kallsyms else "") + _SEND)


def logging() -> str:
    """The init that puts the same, without kallsyms, into the kernel's log, and then stays in kernel mode."""
    return _START + _COLLECT.format(kallsyms="") + _LOG


def logged(log: bytes) -> bytes | None:
    """The .tar.gz in a log's text; None before it has the marker."""
    if MARKER not in log:
        return None
    return base64.b64decode(b"".join(re.findall(rb"%s ([\w+/=]+)" % _LOGGED.encode(), log)))


def sent(path: Path) -> Mapping[str, bytes]:
    """The files that an init sent, by name: what `path`, a .tar.gz, holds."""
    with tarfile.open(path) as archive:
        return {
            PurePosixPath(member.name).name: file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }


def virtual_place(files: Mapping[str, bytes]) -> int:
    """The address of the kernel's first byte, `_text`, by the kallsyms that an init sent."""
    found = re.search(rb"^([0-9a-f]+) T _text$", files["kallsyms"], re.M)
    assert found
    return int(found[1], 16)


def physical_place(files: Mapping[str, bytes]) -> int:
    """The same byte's physical address, by the iomem that an init sent."""
    found = re.search(rb"^ *([0-9a-f]+)-[0-9a-f]+ : Kernel code$", files["iomem"], re.M)
    assert found
    return int(found[1], 16)


def initramfs(busybox: Path, init: str, files: Mapping[str, bytes] | None = None) -> bytes:
    """A gzipped archive with a console, a static busybox, that init, and executable `files` by their paths."""
    contents = {"bin/busybox": busybox.read_bytes(), "init": init.encode()} | dict(files or {})
    entries = [_entry(name, 0o040755) for name in _directories([*contents, "dev/console"])]
    entries.append(_entry("dev/console", 0o020600, device=(5, 1)))
    entries += [_entry(name, 0o100755, data) for name, data in contents.items()]
    return gzip.compress(b"".join([*entries, _entry("TRAILER!!!", 0)]), 1)


def _directories(paths: Iterable[str]) -> list[str]:
    """All directories above the paths; one above another comes first."""
    return sorted({str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."})


def _entry(name: str, mode: int, contents: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    inode = uid = gid = mtime = checksum = 0
    links = 1
    fields = (inode, mode, uid, gid, links, mtime, len(contents), 0, 0, *device, len(name) + 1, checksum)
    header = "070701" + "".join(f"{field:08X}" for field in fields)
    return _pad(header.encode() + name.encode() + b"\0") + _pad(contents)


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
