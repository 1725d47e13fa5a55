"""All targets by name; to be imported when the marks are installed."""

from __future__ import annotations

from tests.fuzz import images, patches, readers, texts

TARGETS = {target.name: target for part in (texts, images, readers, patches) for target in part.targets()}
