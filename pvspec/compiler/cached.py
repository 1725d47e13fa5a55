"""A cache of compiled specs, as data.

A kernel is predicted again and again with the same spec, and compiling that is a tenth of the time. The key of a spec
is a digest of its files and of this package's files.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from pvspec.compiler.stored import dumps, loads
from pvspec.engine.spec import Spec
from pvspec.support.cache import user_cache
from pvspec.support.paths import resource

_MOST = 32  # specs


def load_spec(path: str | os.PathLike[str]) -> Spec:
    """A spec, which is a file or a directory, as the engine's value; SpecError if it is invalid."""
    path = Path(path)
    key = _key(path)
    known = _read(key)
    return _compile(path, key) if known is None else known


def _compile(path: Path, key: str | None) -> Spec:
    from pvspec.compiler.lower import lower
    from pvspec.compiler.pipeline import check_spec

    program = check_spec(path).sound()
    spec = lower(program).spec
    own = all(Path(source.name).resolve().is_relative_to(path.resolve()) for source in program.spec.sources)
    if key is not None and own:
        user_cache().put("spec", key, dumps(spec), _MOST)
    return spec


def _read(key: str | None) -> Spec | None:
    data = user_cache().get("spec", key) if key is not None else None
    if data is None:
        return None
    try:
        return loads(data)
    except ValueError:
        return None


def _key(path: Path) -> str | None:
    """The key of a directory's spec; None for a file, whose includes may be anywhere, and where one cannot be read."""
    if not os.path.isdir(path):  # of a name that is too long, too
        return None
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(path.rglob("*.pvs")):
        if not file.is_file():  # reading a pipe would wait; compiling says what is wrong
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
