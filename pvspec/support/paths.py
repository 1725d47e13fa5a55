"""Where the grammar, the templates and the shipped specs lie.

They stand at the top of a checkout and inside the package in a wheel; an
editable install runs from the checkout. So: beside this file, then one level up.
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


def cache_directory() -> Path | None:
    """The user's cache folder for pvspec, made if need be; None where none can be had."""
    chosen = os.environ.get("PVSPEC_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = Path(chosen) if chosen else Path(home, "pvspec")
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return path
