"""How a kernel was configured: the file .config, which distributions install as /boot/config-RELEASE."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pvspec.engine.errors import PvspecError
from pvspec.kernel.errors import ImageError
from pvspec.kernel.files.streams import read_bounded

_MAX_CONFIG = 1 << 20
"""Bytes of a kernel's configuration; Debian's has a quarter. A longer one is refused."""
_LINE = re.compile(r"(?:CONFIG_(?P<name>\w+)=(?P<value>\S.*)|# CONFIG_(?P<unset>\w+) is not set|\s*(?:#.*)?)", re.ASCII)


class ConfigError(PvspecError):
    """A file is not a kernel's configuration; the message says why."""


def read_config(path: str | os.PathLike[str]) -> dict[str, bool]:
    """What a kernel was configured with, by names without CONFIG_: whether each is set; ConfigError.

    Built in and as a module are set alike. What the file does not name is not set.
    """
    try:
        text = read_bounded(Path(path), _MAX_CONFIG).decode()
    except (OSError, ValueError, ImageError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    found = dict[str, bool]()
    for number, line in enumerate(text.splitlines(), 1):
        said = _LINE.fullmatch(line)
        if said is None:
            raise ConfigError(f"{path}: line {number} is none of a kernel's configuration, such as CONFIG_SMP=y")
        if said["name"]:
            found[said["name"]] = said["value"] != "n"
        elif said["unset"]:
            found[said["unset"]] = False
    if not found:
        raise ConfigError(f"{path}: configures nothing; a kernel's configuration has lines such as CONFIG_SMP=y")
    return found
