"""pvspec: what a kernel's machine code becomes once it has patched itself.

`load("native.pvs")` compiles a spec and gives the generated module; docs/generated-module.md says what is in it.
"""

from __future__ import annotations

from os import PathLike
from types import ModuleType

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(path: str | PathLike[str]) -> ModuleType:
    """Compile a spec (a file or a directory) and import the result; diagnostics.SpecError if the spec is wrong."""
    from pvspec.compiler.pipeline import load

    return load(path)
