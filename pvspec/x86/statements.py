"""A cache of encoded statements, from this run and, in the user's cache, from earlier ones.

Running the assembler twice and reading its answers back takes most of the time of a small compilation. The result
depends only on the statement, this package and the two libraries; the times and sizes of their files are in the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pvspec.support.cache import Cache
from pvspec.x86.code import Hole
from pvspec.x86.encode import Encoded
from pvspec.x86.intel import Statement

Forms = tuple[Encoded, ...]

MAX_STATEMENTS = 1024
"""Statements of one spec that are kept assembled for later runs; of a spec with more, none are: reading them would take
more time than it saves."""


class StatementCache:
    """Encoded statements; with a cache, also those of earlier runs, and `save` keeps them for later ones."""

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = cache
        self._key = _generation() if cache is not None else ""
        self._earlier = _load(cache, self._key)
        self._forms: dict[str, Forms] = {}
        self._new = False

    def forms(self, statement: Statement, bits: int, what: str, encode: Callable[[], Forms]) -> Forms:
        """What `encode` returns for a statement; it is called only if that is unknown. `what` is part of the key."""
        key = f"{what} {bits} {statement.spelling()}"
        forms = self._forms.get(key) or _forms(self._earlier.get(key))
        if forms is None:
            forms, self._new = encode(), True
        self._forms[key] = forms
        return forms

    def save(self) -> None:
        """Write what this run encoded to the cache, if there is one."""
        if self._cache is None or not self._new or len(self._forms) > MAX_STATEMENTS:
            return
        text = json.dumps({**self._others(), **{key: _data(forms) for key, forms in self._forms.items()}})
        self._cache.put("statements", self._key, text.encode(), 1)

    def _others(self) -> dict[str, Any]:
        room = MAX_STATEMENTS - len(self._forms)
        return dict([(key, data) for key, data in self._earlier.items() if key not in self._forms][:room])


def _generation() -> str:
    """A key that changes with the files of this package and the libraries."""
    specs = [find_spec(name) for name in ("keystone", "iced_x86")]
    libraries = [Path(spec.origin) for spec in specs if spec is not None and spec.origin is not None]
    stamps: list[tuple[object, ...]] = [Hole._fields]
    for file in [*sorted(Path(__file__).parent.glob("*.py")), *libraries]:
        stat = file.stat()
        stamps.append((file.name, stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]


def _load(cache: Cache | None, key: str) -> dict[str, Any]:
    data = cache.get("statements", key) if cache is not None else None
    with suppress(ValueError):
        entries = json.loads(data) if data is not None else {}
        return entries if isinstance(entries, dict) else {}
    return {}


def _data(forms: Forms) -> list[Any]:
    return [[form.data.hex(), [list(hole) for hole in form.holes], form.text] for form in forms]


def _forms(data: Any) -> Forms | None:
    """The forms that `_data` wrote; None for anything else."""
    try:
        return tuple(Encoded(bytes.fromhex(code), tuple(Hole(*h) for h in holes), text) for code, holes, text in data)
    except (TypeError, ValueError):
        return None
