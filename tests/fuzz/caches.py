"""The cache as somebody else left it: entries that are broken, cut, swapped, replaced; and specs as data."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from pvspec.compiler.cached import load_spec
from pvspec.compiler.stored import dumps, loads
from pvspec.engine.spec import Spec
from pvspec.support.cache import Cache
from tests.fuzz.files import folder
from tests.fuzz.hostile import Hostile
from tests.fuzz.loop import Target

_ENTRIES = {
    ("spec", "a"): b"spec " * 100,
    ("statements", "b"): bytes(range(256)),
    ("vmlinux", "c"): b"\x7fELF" + bytes(5000),
}
_STEP = struct.Struct("<BBIB")  # which entry, what is done to it, where, and with what
_WAYS = 12


def _files(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if not path.name.startswith(".")) if place.is_dir() else []


def _filled() -> Path:
    place = folder() / "cache"
    if place.is_file():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)
    kept = Cache(place)
    for (kind, key), data in _ENTRIES.items():
        kept.put(kind, key, data, 4)
    return place


def _steps() -> Iterator[bytes]:
    for way in range(_WAYS):
        for entry in range(4):
            yield _STEP.pack(entry, way, 40, 1)


def _script(h: Hostile) -> bytes:
    return b"".join(
        _STEP.pack(h.random.randrange(4), h.random.randrange(_WAYS), h.number(5, 32), h.random.randrange(256))
        for _ in range(h.times(2, 30))
    )


def _broken(data: bytes) -> str:
    """What comes out of the cache is what was put there, or nothing; nothing outside of it changes."""
    place, outside = _filled(), folder() / "outside"
    outside.write_bytes(b"precious")
    for start in range(0, len(data) - len(data) % _STEP.size, _STEP.size)[:32]:
        number, way, at, value = _STEP.unpack_from(data, start)
        files = _files(place)
        if not files:
            break
        with suppress(OSError, ValueError):
            _break(place, files[number % len(files)], files[(number + 1) % len(files)], way % _WAYS, at, value, outside)
    kept = Cache(place)
    said = []
    for (kind, key), known in _ENTRIES.items():
        for take in (kept.get, kept.mapped):
            found = take(kind, key)
            assert found is None or found[:] == known, "an entry that was changed is believed"
            said.append("none" if found is None else "there")
    kept.put("spec", "a", b"anew", 4)
    assert kept.get("spec", "a") in (b"anew", None)
    assert outside.read_bytes() == b"precious"
    assert not os.path.lexists(folder() / "made")
    return " ".join(said)


def _is_small_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and 0 < path.stat().st_size < 1 << 20


def _break(place: Path, path: Path, other: Path, way: int, at: int, value: int, outside: Path) -> None:
    """One thing that others may do to a folder that they can write to."""
    if way < 6 and not all(_is_small_file(file) for file in (path, other)):
        return
    content = bytearray(path.read_bytes()) if way < 6 else bytearray()
    if way == 0:
        content[at % len(content)] ^= value or 1
        path.write_bytes(content)
    elif way == 1:
        path.write_bytes(content[: at % (len(content) + 1)])
    elif way == 2:
        path.write_bytes(content + bytes(value))
    elif way == 3:
        path.write_bytes(other.read_bytes())
    elif way == 4:
        path.chmod(0o666 if value & 1 else 0o000)
    elif way == 5:
        os.truncate(path, at << 8)
    elif way == 6:
        path.unlink()
        path.symlink_to(outside if value & 1 else folder() / "made")
    elif way == 7:
        path.unlink()
        path.mkdir()
    elif way == 8:
        path.unlink()
        os.mkfifo(path)
    elif way == 9:
        path.rename(place / f"{path.name}{value}")
    elif way == 10:
        place.chmod(0o777 if value & 1 else 0o700)
    else:
        shutil.rmtree(place)
        if value & 1:
            place.write_bytes(b"not a folder")


# ---- specs as data


@cache
def _spec() -> Spec:
    return load_spec(Path(__file__).with_name("kernel.pvs"))


def _data() -> Iterator[bytes]:
    yield dumps(_spec())
    yield b'["Code","a.pvs:3",null,["b","90"]]'


def _nested(h: Hostile) -> bytes:
    depth = h.times(3, 100_000)
    word = h.random.choice((b'["("', b'["AllOf"', b'["Spec"', b'["{"', b'["<"', b'[["b"', b"{"))
    return (
        (word + b",") * depth
        + h.random.choice((b"1", b"9" * h.times(9, 100_000), b'"a"', b"1e999", b"NaN", b"null"))
        + b"]" * depth
    )


def _stored(data: bytes) -> str:
    """A spec, which is the same once more, or a ValueError."""
    try:
        spec = loads(data)
    except ValueError as error:
        return str(error)
    assert loads(dumps(spec)) == spec
    return "a spec"


def targets() -> Iterator[Target]:
    yield Target("cache", False, _steps, (bytes(6), b"\xff" * 6), _broken, _script)
    words = b'["(",', b"]", b'"Code"', b'"AnyOf"', b'["b","90"]', b"null", b"1e9", b"[", b'["{",1,2]', b"true"
    yield Target("stored", True, _data, words, _stored, _nested)
