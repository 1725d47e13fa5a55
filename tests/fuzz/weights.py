"""How many of a run's inputs go to each target: more where they are cheap, so that a run takes an hour or two."""

from __future__ import annotations

WEIGHTS = {
    **{"parse": 10, "format": 6, "check": 4, "run": 2, "expand": 2, "kernels": 2},
    **{"ar": 60, "tar": 60, "deb": 20},
    **{"gzip": 30, "xz": 30, "lzma": 30, "bzip2": 20, "zstd": 30, "lz4": 30, "bzimage": 50},
    **{"elf": 60, "module": 30, "relocations": 30},
    **{"kallsyms": 80, "system-map": 50, "address": 110, "data-symbols": 20},
    **{"core": 50, "flat-dump": 70, "reader": 110},
    **{"cpuinfo": 90, "vulnerabilities": 60, "vulnerabilities-folder": 40, "config": 30},
    **{"command-line": 60, "known-words": 20},
    **{"cache": 25, "stored": 70},
    **{"predict": 40, "apply": 100},
    **{"command-predict": 4, "command-apply": 2, "command-explain": 2, "command-diff-text": 2, "command-spec": 2},
}
"""Of all inputs, in thousandths or so."""
