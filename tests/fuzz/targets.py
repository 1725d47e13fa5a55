"""All targets by name; to be imported when the marks are installed."""

from __future__ import annotations

from tests.fuzz import (
    archives,
    caches,
    command_lines,
    commands,
    compression,
    data_symbols,
    dumps,
    executables,
    kernels,
    machine,
    patches,
    specs,
    symbols,
)

TARGETS = {
    target.name: target
    for part in (
        specs,
        kernels,
        archives,
        compression,
        executables,
        symbols,
        dumps,
        machine,
        command_lines,
        caches,
        patches,
        commands,
        data_symbols,
    )
    for target in part.targets()
}
