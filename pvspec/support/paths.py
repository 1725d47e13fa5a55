"""Where the grammar, the templates, the shipped specs and the user's cache are.

Shipped files are at the top of a checkout, and inside the package in a wheel; an editable install runs from the
checkout. So the package is searched first, then the folder above it.
"""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def resource(*parts: str) -> Path:
    """The path of a file or folder that ships with pvspec; FileNotFoundError if the installation lacks it."""
    for root in (_PACKAGE, _PACKAGE.parent):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise FileNotFoundError(f"this installation of pvspec lacks {'/'.join(parts)}")


def cache_folder() -> Path | None:
    """The cache folder of pvspec, which need not exist: $PVSPEC_CACHE, or `pvspec` in the user's cache folder.

    None if that is nowhere: where $HOME is empty or relative. As the XDG base directory specification has it, a
    relative $XDG_CACHE_HOME is as good as none.
    """
    chosen = os.environ.get("PVSPEC_CACHE")
    if chosen:
        return Path(chosen)
    given = os.environ.get("XDG_CACHE_HOME", "")
    user = os.path.expanduser("~") if os.environ.get("HOME", "~") else ""
    home = given if os.path.isabs(given) else os.path.join(user, ".cache")
    return Path(home, "pvspec") if os.path.isabs(home) else None
