"""A cache of compiled specs, as data.

A kernel is predicted again and again with the same spec, and compiling that is a tenth of the time. The key of a spec
is a digest of its files, of this package's files and of what is said of the kernel that it is wanted for.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from pvspec.compiler.stored import dumps, loads
from pvspec.engine.spec import Spec
from pvspec.lang.target import Wanted, wanted
from pvspec.support.cache import user_cache
from pvspec.support.paths import resource

_MAX_SPECS = 128
"""Compiled specs that the cache keeps, one for each kernel; the oldest is removed."""
_MAX_ENTRIES = 4096
"""Files in the folder of a spec, those below it included, beyond which what is compiled of it is not kept."""
_MAX_BYTES = 4 << 20
"""Bytes of all spec files in such a folder beyond which it is not kept, either."""


def load_spec(
    path: str | os.PathLike[str],
    *,
    kernel: str | None = None,
    machine: str | None = None,
    include: Iterable[str | os.PathLike[str]] = (),
) -> Spec:
    """A spec, which is a file or a directory, as the engine's value; SpecError if it is invalid.

    `kernel` and `machine`: which of its kernels is meant, as "6.1" and "x86_64"; TargetError if none is, or several may
    be. `include`: folders of which it may include files, besides its own and the shipped specs; what is compiled with
    them is not kept, since without them it would be refused.
    """
    return load_for(Path(path), wanted(kernel, machine), include)


def load_for(path: Path, meant: Wanted, include: Iterable[str | os.PathLike[str]] = ()) -> Spec:
    """The same for the one kernel that is meant."""
    include = tuple(include)
    key = None if include else _key(path, meant)
    known = _read(key)
    return _compile(path, meant, key, include) if known is None else known


def _compile(path: Path, meant: Wanted, key: str | None, include: Sequence[str | os.PathLike[str]]) -> Spec:
    from pvspec.compiler.lower import lower
    from pvspec.compiler.pipeline import check_the_one

    program = check_the_one(path, meant, include).sound()
    spec = lower(program).spec
    own = all(Path(source.name).resolve().is_relative_to(path.resolve()) for source in program.spec.sources)
    if key is not None and own:
        user_cache().put("spec", key, dumps(spec), _MAX_SPECS)
    return spec


def _read(key: str | None) -> Spec | None:
    data = user_cache().get("spec", key) if key is not None else None
    if data is None:
        return None
    try:
        return loads(data)
    except ValueError:
        return None


def _key(path: Path, meant: Wanted) -> str | None:
    """The key of a directory's spec; None for a file, whose includes may be anywhere, and where one cannot be read."""
    if not os.path.isdir(path):  # of a name that is too long, too
        return None
    digest = hashlib.sha256(f"{sys.version} {meant}".encode())
    found = list(islice(path.rglob("*"), _MAX_ENTRIES + 1))
    if len(found) > _MAX_ENTRIES:
        return None
    left = _MAX_BYTES
    for file in sorted(file for file in found if file.suffix == ".pvs"):
        if not file.is_file():  # reading a pipe would wait; compiling says what is wrong
            return None
        left -= file.stat().st_size
        if left < 0:
            return None
        try:
            digest.update(f"\0{file}\0".encode() + file.read_bytes())
        except OSError:
            return None
    digest.update(repr(list(_stamps())).encode())
    return digest.hexdigest()[:32]


def _stamps() -> Iterator[tuple[str, int, int]]:
    """What distinguishes versions of this package."""
    for folder in (Path(__file__).parent.parent, resource("grammar")):
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".lark"):
                stat = file.stat()
                yield file.name, stat.st_size, stat.st_mtime_ns
