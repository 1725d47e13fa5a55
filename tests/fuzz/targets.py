"""All targets by name; to be imported when the marks are installed."""

from __future__ import annotations

from tests.fuzz import (
    archives,
    caches,
    commands,
    compression,
    data_symbols,
    dumps,
    executables,
    machine,
    patches,
    specs,
    symbols,
)

TARGETS = {
    target.name: target
    for part in (
        specs,
        archives,
        compression,
        executables,
        symbols,
        dumps,
        machine,
        caches,
        patches,
        commands,
        data_symbols,
    )
    for target in part.targets()
}
