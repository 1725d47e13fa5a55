"""Modules of specs that were compiled before, kept in the user's cache as Python's own byte code.

A kernel is predicted again and again with the same spec, and compiling that is a tenth of the time. The name of a kept
module is a digest of the spec's files, of this package's and of the Python that runs.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, ModuleType

from pvspec.support.cache import user_cache
from pvspec.support.paths import resource

_MOST = 32  # modules


def load_spec(path: Path) -> ModuleType:
    """The module of a spec, a file or a directory; SpecError if the spec is wrong."""
    key = _key(path)
    code = _read(key) or _compile(path, key)
    module = ModuleType("pvspec.generated.applied")
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    exec(code, module.__dict__)
    return module


def _compile(path: Path, key: str | None) -> CodeType:
    from pvspec.compile.pipeline import check_spec
    from pvspec.compile.printout import render

    program = check_spec(path).sound()
    code = compile(render(program), "<pvspec.generated.applied>", "exec")
    own = all(Path(source.name).resolve().is_relative_to(path.resolve()) for source in program.spec.sources)
    if key is not None and own:
        user_cache().put("module", key, marshal.dumps(code), _MOST)
    return code


def _read(key: str | None) -> CodeType | None:
    data = user_cache().get("module", key) if key is not None else None
    with suppress(ValueError, EOFError, TypeError):
        code = marshal.loads(data) if data is not None else None
        return code if isinstance(code, CodeType) else None
    return None


def _key(path: Path) -> str | None:
    """The key of the module of a directory; None for a file, whose includes may be anywhere."""
    if not path.is_dir():
        return None
    digest = hashlib.sha256(sys.version.encode())
    for file in sorted(path.rglob("*.pvs")):
        digest.update(f"\0{file}\0".encode() + file.read_bytes())
    digest.update(repr(list(_stamps())).encode())
    return digest.hexdigest()[:32]


def _stamps() -> Iterator[tuple[str, int, int]]:
    """What tells one state of this package from another."""
    for folder in (Path(__file__).parent.parent, resource("grammar"), resource("templates")):
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".lark", ".jinja"):
                stat = file.stat()
                yield file.name, stat.st_size, stat.st_mtime_ns
