"""A spec in which kernels part in each way that there is."""

from __future__ import annotations

from pathlib import Path

import pytest

SPEC = """\
# What these kernels do to their locks.
include "machine.pvs"
if on x86_64 {
    include "wide.pvs"
}

cmdline {
    variable mode = auto { auto, on }
    early_param "mode" -> mode { "auto" "on" }
    if since 6.12 {
        # Only the newest one has it.
        early_param "nomode" -> mode = auto
    }
}

config STRICT = kernel has strict_start
config LOOSE = kernel has loose_start

# How it began.
decide first in "a.c" {
    let fast = cpu has FAST and (since 6.1 or mode is on)
    let old = before 6.1
    if fast and not (cpu has OLD and before 6.1) {
        set LOCKED when (before 6.1 or mode is auto) and not old
    } else if since 6.1 {
        clear LOCKED when (old and since 6.1) or (not fast and mode is on)
    } else {
        # As it was.
        set LOCKED  # at once
    }
    if config STRICT and since 6.1 { set STRICT }
    if before 6.1 {
        clear STRICT
    } else if mode is on and config LOOSE {
        set STRICT
    } else if mode is auto {
        set FAST
    } else {
        if cpu has LOCKED {
            clear FAST
        }
    }
}

if since 6.12 {
    decide second in "b.c" {
        set LOCKED when cpu has any FAST, STRICT
    }
}

policy { second, first }

interface calls {
    table ".calls" { addr u32  type u8  len u8  clobber u16 }
    max_len 8
    if on x86_64 {
        registers { rax 1 }
    } else {
        registers { eax 1 }
    }
    op halt 1
    op idle 2 since 6.1
}

backend native for calls {
    halt = bytes "90 90" before 6.1 else nop
    if since 6.1 {
        idle = keep before 6.12 when cpu has LOCKED else nop since 6.12 when cpu has FAST else bytes "90"
    }
}

family locks {
    table ".sites" { site u32  len u8  kind u8 }
    if since 6.1 {
        # Both.
        bytes "c3" when cpu has LOCKED and (kind == 1 or before 6.12)
    } else {
        nop when cpu has OLD
    }
    chosen
    if cpu has FAST {
        keep when kind == 2
        if on x86_64 { nop when kind == 3 and cpu has STRICT }
    }
}

chain chosen {
    bytes "90" since 6.1 when kind == 4
    bytes "c3" when kind == 5
    keep before 6.12 when kind == 6
}

test locks {
    at 0x1000 len 1 original "90" kind 5 => "c3"
    if since 6.1 {
        at 0x1000 len 1 original "90" kind 4 => "90"
    }
}

passes { locks, wide since 6.1 on x86_64 }
"""

MACHINE = """\
# The kernels.
kernels 5.10, 6.1, 6.12 on x86_64
kernels 5.10, 6.1 on i386

machine x86_64, i386 {
    # Of each.
    feature FAST    1
    feature LOCKED  2

    # Gone.
    feature OLD     3 before 6.1  # and forgotten

    # Of the first ones, some.
    feature FIXED   4 since 5.10.100 before 6.1
    feature STRICT

    nops short { "90"  "66 90" }
    nops long { "90"  "66 90"  "0f 1f 00" }
    choose nops long since 6.12 else long when since 6.1 and (cpu has FAST or cpu has LOCKED) else short
}

machine x86_64 {
    bits 64
}

# The narrow one.
machine i386 {
    bits 32
}

# Only an old one.
machine i386 {
    feature NARROW  5 before 6.1
}
"""

WIDE = """\
if since 6.1 {
    family wide {
        table ".wide" { site u64  len u8 }
        nop when cpu has LOCKED
    }
}
"""
TARGETS = [("5.10", "x86_64"), ("6.1", "x86_64"), ("6.12", "x86_64"), ("5.10", "i386"), ("6.1", "i386")]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """The spec's file, in a folder of its own."""
    folder = tmp_path / "spec"
    folder.mkdir()
    for name, text in (("spec", SPEC), ("machine", MACHINE), ("wide", WIDE)):
        folder.joinpath(f"{name}.pvs").write_text(text, encoding="utf-8")
    return folder / "spec.pvs"
