"""Where a version of Python is to be had: on the path, from pyenv, or in a Debian of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid"}
"""The suites of Debian that have a Python; 3.12 was in none."""

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_ASKED = "import ensurepip, platform, venv; print(platform.python_version())"
_CHROOT = 'mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" "$@"'


class Unavailable(Exception):
    """A Python cannot be had on this machine; the text says why."""


class Python(NamedTuple):
    """A Python: its whole version, and the command that starts it under `root`, the root of its file system."""

    version: str
    executable: str
    root: Path = Path("/")

    def command(self, *words: str) -> Sequence[str]:
        """A command, all of whose paths are as this Python sees them."""
        return words if self.root == Path("/") else ("unshare", "--mount", "sh", "-c", _CHROOT, str(self.root), *words)


def find(version: str, folder: Path) -> Python:
    """Python of that version ("3.12"); raises Unavailable. A Debian of its own is made, and kept, in `folder`."""
    for executable in _installed(version):
        if python := _asked(version, Python("", executable)):
            return python
    return _debian(version, folder)


def _installed(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    for path in sorted(pyenv.glob(f"{version}.*/bin/python"), key=_rank, reverse=True):
        yield str(path)


def _rank(path: Path) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", path.parts[-3])]


def _asked(version: str, python: Python) -> Python | None:
    """The Python with its whole version; None if it does not start, cannot make environments or is another one."""
    done = subprocess.run(python.command(python.executable, "-c", _ASKED), capture_output=True, text=True)
    found = done.stdout.strip()
    return python._replace(version=found) if found.startswith(f"{version}.") else None


def _debian(version: str, folder: Path) -> Python:
    suite, root = SUITES.get(version), folder / f"debian-{version}"
    if suite is None:
        raise Unavailable("not on the path, not in pyenv, and no suite of Debian has it")
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise Unavailable(f"not on the path, not in pyenv; root could have it from Debian {suite}, with debootstrap")
    packages = f"python{version},python{version}-venv,binutils,ca-certificates"
    if not root.exists():
        making = root.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(making)]
        if (done := subprocess.run(command, capture_output=True, text=True)).returncode:
            raise Unavailable(f"debootstrap {suite} failed: {(done.stdout.strip().splitlines() or ['?'])[-1]}")
        if CERTIFICATES.exists():  # the machine's: it may be behind a proxy that has a certificate of its own
            shutil.copy(CERTIFICATES, making / CERTIFICATES.relative_to("/"))
        making.replace(root)
    if python := _asked(version, Python("", f"/usr/bin/python{version}", root)):
        return python
    raise Unavailable(f"the Python of Debian {suite} does not start in {root}")
