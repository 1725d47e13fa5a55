"""Debian kernels and busybox for the tests, downloaded through apt but not installed.

apt is given directories of its own: it needs no privileges and does not touch the system's state. The mirror is the
one that the machine's apt is set up with. What has been downloaded once is kept under `cache_directory()`; remove
that to get newer packages.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pvspec.kernel.files.package import MAGIC, extract_vmlinuz
from pvspec.kernel.work import Work

if TYPE_CHECKING:
    from debian.debfile import DebFile

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITE = "bookworm"  # the suite that has Linux 6.1, whatever suite this machine runs
VERSION = r"6\.1\.0-\d+"


class Unavailable(Exception):
    """What a test needs cannot be had on this machine; the text is the reason to skip it."""


def cache_directory() -> Path:
    """Where downloads and dumps are kept: $PVSPEC_CACHE, or pvspec in the user's cache directory."""
    if chosen := os.environ.get("PVSPEC_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "pvspec"


def kernel_package(arch: str, flavour: str, version: str = VERSION, suite: str = SUITE) -> Path:
    """The .deb of the newest kernel of a flavour ("686-pae", "cloud-amd64"); raises Unavailable.

    `arch` is Debian's ("i386", "amd64"); `version` a regular expression for the part of the package's name before
    the flavour.
    """
    return _package(suite, arch, rf"linux-image-{version}-{re.escape(flavour)}(-unsigned)?")


def busybox(arch: str, suite: str = SUITE) -> Path:
    """A statically linked busybox for that architecture; raises Unavailable."""
    target = cache_directory() / f"busybox-{suite}-{arch}"
    if not target.exists():
        with _opened(_package(suite, arch, "busybox-static")) as package:
            name = next(name for name in package.data if name.endswith("bin/busybox"))
            _write(target, package.data.get_content(name))
        target.chmod(0o755)
    return target


def xen(suite: str = SUITE) -> Path:
    """The newest 64-bit Xen hypervisor of a suite, an ELF file; raises Unavailable."""
    target = cache_directory() / f"xen-{suite}"
    if not target.exists():
        with _opened(_package(suite, "amd64", r"xen-hypervisor-[\d.]+-amd64")) as package:
            name = next(name for name in package.data if re.fullmatch(r".*/xen-[\d.]+-amd64\.gz", name))
            contents = package.data.get_content(name)
        assert isinstance(contents, bytes)
        _write(target, gzip.decompress(contents))
    return target


def bzimage(kernel: Path) -> bytes:
    """The bzImage in a kernel's package, or the file itself."""
    data = kernel.read_bytes()
    return extract_vmlinuz(data, Work()) if data.startswith(MAGIC) else data


def _opened(package: Path) -> DebFile:
    """A package's contents. Only tests ask: scripts/demo, which fetches a kernel, has no library for them."""
    from debian.debfile import DebFile

    return DebFile(package)


def _write(target: Path, contents: bytes | str | None) -> None:
    assert isinstance(contents, bytes)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
        file.write(contents)
    Path(file.name).replace(target)


def _package(suite: str, arch: str, pattern: str) -> Path:
    """The newest package whose name matches, from the cache if one is there."""
    kept = cache_directory() / "packages" / f"{suite}-{arch}"
    kept.mkdir(parents=True, exist_ok=True)
    cached = [path for path in kept.glob("*.deb") if re.fullmatch(pattern, path.name.split("_")[0])]
    if cached:
        return max(cached, key=lambda path: _rank(path.name))
    options, problem = _apt_index(suite, arch)
    listed = _run(["apt-cache", *options, "pkgnames"]).split()
    for name in sorted(filter(re.compile(pattern).fullmatch, listed), key=_rank, reverse=True):
        if path := _download(options, name, kept):
            return path
    raise Unavailable(f"no package {pattern} for {arch} can be had from {suite}{problem}")


def _rank(name: str) -> tuple[list[int], bool]:
    """Greater for what is newer, and for a signed kernel."""
    return [int(digits) for digits in re.findall(r"\d+", name)], "-unsigned" not in name


def _download(options: Sequence[str], name: str, kept: Path) -> Path | None:
    """The package in `kept`; None if the index lists it but the mirror no longer has it."""
    with tempfile.TemporaryDirectory(dir=kept) as directory:
        try:
            _run(["apt-get", *options, "download", name], directory)
            (path,) = Path(directory).glob("*.deb")
        except (Unavailable, ValueError):
            return None
        return path.replace(kept / path.name)


@cache
def _apt_index(suite: str, arch: str) -> tuple[Sequence[str], str]:
    """Options for apt with the index of that suite and architecture alone, which is brought up to date.

    Also what went wrong with that, if anything: one of two archives in the middle of an update is no reason to stop.
    """
    options = _apt_options(suite, arch)
    try:
        _run(["apt-get", *options, "update"])
    except Unavailable as problem:
        return options, f" ({problem})"
    return options, ""


def _apt_options(suite: str, arch: str) -> Sequence[str]:
    if not KEYRING.exists():
        raise Unavailable("the package debian-archive-keyring is not installed")
    state = cache_directory() / "apt" / f"{suite}-{arch}"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    sources = state / "sources.list"
    debian, security = _mirrors()
    sources.write_text(
        f"deb [signed-by={KEYRING}] {debian} {suite} main\ndeb [signed-by={KEYRING}] {security} {suite}-security main\n"
    )
    settings = {
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "Acquire::Check-Valid-Until": "false",  # an old suite is no longer renewed
        "APT::Sandbox::User": "root",
        "Dir::State::lists": state / "lists",
        "Dir::State::status": os.devnull,
        "Dir::Cache": state,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
    }
    return [f"-o{key}={value}" for key, value in settings.items()]


def _mirrors() -> tuple[str, str]:
    """The URIs of Debian's archive and of its security archive: what apt would fetch, for which it needs no lists."""
    would_fetch = _run(["apt-get", "update", "--print-uris"])
    uris = [uri for uri in re.findall(r"'([^']+)/dists/[^']*'", would_fetch) if not uri.startswith("file:")]
    debian = next((uri.rstrip("/") for uri in uris if uri.rstrip("/").endswith("/debian")), None)
    if debian is None:
        raise Unavailable("apt is not set up with a Debian mirror")
    security = (uri.rstrip("/") for uri in uris if uri.rstrip("/").endswith("/debian-security"))
    return debian, next(security, f"{debian}-security")


def _run(command: Sequence[str], directory: str | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=600,
        )
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} {command[-1]} took too long") from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"{command[0]} {command[-1]} failed: {reason}") from error
    return done.stdout
