"""Which spec a kernel is predicted by, and for which of the spec's kernels it is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pvspec.engine.spec import Spec
from pvspec.kernel import KernelImage
from pvspec.lang.target import TargetError, Wanted, listed, version_text
from pvspec.prediction.machine import PredictionError
from pvspec.support.paths import resource

_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?!\d)(-\d)?")
_NUMBERS = 3  # of a version that says which point release it is
_BANNER = 1024  # bytes of a kernel's banner that are looked at


def spec_for(
    image: KernelImage,
    path: str | os.PathLike[str] | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Spec:
    """The spec at a path, else the shipped one, for an image's version and machine.

    SpecError if it is invalid; PredictionError, or if a path is given TargetError, if it describes no such kernel.
    """
    from pvspec.compiler.cached import load_for

    meant = Wanted(version_of(image), image.machine, exactly=False)
    if path is not None:
        return load_for(Path(path), meant, include)
    try:
        return load_for(shipped_spec(image), meant, include)
    except TargetError as error:
        raise _no_shipped_spec(image, f", only for {listed(error.targets)}") from None


def shipped_spec(image: KernelImage) -> Path:
    """The shipped spec that may describe an image; PredictionError if there is none."""
    version = re.match(r"\d+\.\d+(\.\d+)?", image.release)
    if version is None:
        raise _no_shipped_spec(image)
    for place in ((f"linux-{version[0]}", image.machine), ("linux",)):
        try:
            return resource("specs", *place)
        except FileNotFoundError:
            continue
    raise _no_shipped_spec(image)


def _no_shipped_spec(image: KernelImage, why: str = "") -> PredictionError:
    shown = image.release or "an unknown version"
    return PredictionError(f"{image.name}: no shipped spec for {shown} on {image.machine}{why}; name one with --spec")


def version_of(image: KernelImage) -> tuple[int, ...] | None:
    """An image's version: of three numbers, of two where its point release is unknown; None if all is.

    A release such as 6.1.0-57-amd64 counts Debian's ABIs; the point release is in the kernel's banner.
    """
    release = _RELEASE.match(image.release)
    if release is None:
        return None
    series, point = (int(release[1]), int(release[2])), release[3]
    if point is None or (int(point) == 0 and release[4]):
        return _of_banner(image.kernel or image, series) or series
    return (*series, int(point))


def version_warnings(image: KernelImage) -> Iterator[str]:
    """That an image's point release is unknown: a spec is read for the newest one of its series then."""
    version = version_of(image)
    if version is not None and len(version) < _NUMBERS:
        without = ", without the kernel that loads it (--vmlinux)" if image.kind == "module" else ""
        series = f"which point release of Linux {version_text(version)} {image.release} is"
        yield f"{image.name}: nothing says {series}; it is taken for the newest{without}"


def _of_banner(kernel: KernelImage, series: tuple[int, int]) -> tuple[int, ...] | None:
    start = kernel.memory.find(b"Linux version " + kernel.release.encode() + b" ")
    banner = bytes(kernel.memory[start : start + _BANNER]).partition(b"\n")[0] if start >= 0 else b""
    # the compiler's version is in it as well, before the build's number
    found = re.search(rb"#.* Debian (\d{1,4})\.(\d{1,4})\.(\d{1,4})-", banner)
    version = tuple(map(int, found.groups())) if found is not None else ()
    return version if version[:2] == series else None
