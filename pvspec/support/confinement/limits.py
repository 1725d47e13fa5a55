"""What a confined process may use up."""

from __future__ import annotations

import resource

MAX_CPU = 10
"""Seconds of processor time of a command under `--confined`; then it is stopped by SIGXCPU."""

MAX_DATA = 1 << 30
"""Bytes of memory of a command under `--confined`, without the files that it maps; beyond: not enough memory."""

MAX_FILE = 1 << 30
"""Bytes of a file that a command under `--confined` writes; a larger one is an error, and the old file stays."""

MAX_OPEN = 64
"""Files that a command under `--confined` has open at once; beyond, they cannot be read or written."""

_GRACE = 2  # seconds to say why, and to end


def limit_resources() -> None:
    """Lower the limits of this process, those of its core dump to nothing; lower ones stay."""
    _limit(resource.RLIMIT_CPU, MAX_CPU, MAX_CPU + _GRACE)
    _limit(resource.RLIMIT_DATA, MAX_DATA, MAX_DATA)
    _limit(resource.RLIMIT_FSIZE, MAX_FILE, MAX_FILE)
    _limit(resource.RLIMIT_NOFILE, MAX_OPEN, MAX_OPEN)
    _limit(resource.RLIMIT_CORE, 0, 0)


def _limit(what: int, soft: int, hard: int) -> None:
    now = [limit for limit in resource.getrlimit(what) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(what, (min([soft, *now]), min([hard, *now[1:]])))
