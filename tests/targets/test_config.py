"""What a kernel was configured with: the file, and what rules make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pvspec import ConfigError, read_config
from pvspec.prediction import config as module

TEXT = """\
#
# Automatically generated file; DO NOT EDIT.
#
CONFIG_X86_64=y

CONFIG_KVM=m
# CONFIG_XEN is not set
CONFIG_OFF=n
CONFIG_NAME="a = b # c"
CONFIG_NR_CPUS=64
"""


def test_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(TEXT)
    wanted = {"X86_64": True, "KVM": True, "XEN": False, "OFF": False, "NAME": True, "NR_CPUS": True}
    assert read_config(path) == wanted


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "configures nothing"),
        (b"# nothing\n\n", "configures nothing"),
        (b"CONFIG_A=y\nSMP=y\n", "line 2 is none of a kernel's configuration"),
        (b"CONFIG_A\n", "line 1 is none"),
        (b"CONFIG_A=\n", "line 1 is none"),
        (b"\x1f\x8b\x08\0", "cannot be read"),
        (b"\0" * 100, "line 1 is none"),
    ],
)
def test_it_is_none(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert why in str(error.value)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "missing", "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_config(path)
    monkeypatch.setattr(module, "_MAX_CONFIG", 20)
    path = tmp_path / "config"
    path.write_text(TEXT)
    with pytest.raises(ConfigError, match="larger than 20 bytes"):
        read_config(path)
