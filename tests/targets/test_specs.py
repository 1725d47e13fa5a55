"""Which spec a kernel is predicted by, and as which version it is read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pvspec import TargetError
from pvspec.prediction import specs
from pvspec.prediction.machine import PredictionError
from pvspec.prediction.specs import shipped_spec, spec_for, version_of, version_warnings

BANNER = (
    "Linux version {} (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0) #{} SMP Debian {}\n"
)
DEBIAN = BANNER.format("6.1.0-57-amd64", "", "6.1.192-3 (2026-11-26)")


def image(release: str, machine: str = "x86_64", text: str = "", kernel: Any = None, kind: str = "vmlinux") -> Any:
    """An image, of which no more is asked here."""
    memory = b"\0Linux version of another kind\0" + text.encode() + b"\0Linux version 5.10.7 Debian 5.10.9-1"
    return SimpleNamespace(name="vmlinux", release=release, machine=machine, memory=memory, kernel=kernel, kind=kind)


@pytest.mark.parametrize(
    ("release", "text", "version"),
    [
        ("6.12.118+deb13-amd64", "", (6, 12, 118)),
        ("6.1.0-57-amd64", DEBIAN, (6, 1, 192)),
        ("6.1.0-57-amd64", "", (6, 1)),  # not even a banner
        ("6.1.0-57-amd64", BANNER.format("6.1.0-57-amd64", "1", "12.2.0-1"), (6, 1)),
        ("6.1.0-57-amd64", DEBIAN.replace("6.1.0-57", "6.1.0-56"), (6, 1)),
        ("6.1.0-57-amd64", DEBIAN.replace(" SMP", "\n SMP"), (6, 1)),
        ("6.1.0-57-amd64", DEBIAN.replace(" SMP", " SMP" * 500), (6, 1)),
        ("6.1.0", DEBIAN, (6, 1, 0)),
        ("9.9.0-test", "", (9, 9, 0)),
        ("6.1-local", "", (6, 1)),
        ("2.6.23.1", "", (2, 6, 23)),
        ("", "", None),
        ("x6.1", "", None),
    ],
)
def test_the_version(release: str, text: str, version: tuple[int, ...] | None) -> None:
    assert version_of(image(release, text=text)) == version


def test_an_unknown_point_release_is_told() -> None:
    assert list(version_warnings(image("6.1.0-57-amd64", text=DEBIAN))) == []
    assert list(version_warnings(image(""))) == []
    (told,) = version_warnings(image("6.1.0-57-amd64"))
    assert told == (
        "vmlinux: nothing says which point release of Linux 6.1 6.1.0-57-amd64 is; it is taken for the newest"
    )
    (told,) = version_warnings(image("6.1.0-57-amd64", kind="module"))
    assert told.endswith("taken for the newest, without the kernel that loads it (--vmlinux)")


def test_a_module_is_of_its_kernel() -> None:
    kernel = image("6.1.0-57-amd64", text=DEBIAN)
    assert version_of(image("6.1.0-57-amd64", kernel=kernel)) == (6, 1, 192)


@pytest.fixture
def shipped(tmp_path: Path, spec: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Specs that ship: one of all kernels, and one of a single one."""
    spec.parent.rename(tmp_path / "linux")
    single = tmp_path / "linux-2.6.23" / "i386"
    single.mkdir(parents=True)
    single.joinpath("m.pvs").write_text('machine i386 { bits 32 nops n { "90" } choose nops n }\n', encoding="utf-8")

    def resource(*parts: str) -> Path:
        path = tmp_path.joinpath(*parts[1:])
        if not path.exists():
            raise FileNotFoundError
        return path

    monkeypatch.setattr(specs, "resource", resource)
    return tmp_path


@pytest.mark.parametrize(
    ("release", "machine", "folder"),
    [
        ("6.1.0-18-amd64", "x86_64", "linux"),
        ("6.12.5", "x86_64", "linux"),
        ("2.6.23", "i386", "linux-2.6.23/i386"),
        ("2.6.23.1", "i386", "linux-2.6.23/i386"),
    ],
)
def test_the_shipped_spec(shipped: Path, release: str, machine: str, folder: str) -> None:
    assert shipped_spec(image(release, machine)) == shipped / folder
    assert spec_for(image(release, machine)).machine.name == machine


@pytest.mark.parametrize(
    ("release", "machine", "why"),
    [
        ("", "x86_64", "vmlinux: no shipped spec for an unknown version on x86_64; name one with --spec"),
        ("x6.1", "i386", "no shipped spec for x6.1 on i386; name"),
        ("6.6.9-a", "x86_64", "6.6.9-a on x86_64, only for Linux 5.10, 6.1, 6.12 on x86_64; Linux 5.10, 6.1 on i386;"),
        ("6.12.5", "i386", "no shipped spec for 6.12.5 on i386, only for Linux 5.10"),
        ("5.9.16", "x86_64", "no shipped spec for 5.9.16 on x86_64, only for"),
        ("7.3.0", "x86_64", "no shipped spec for 7.3.0 on x86_64, only for"),
    ],
)  # fmt: skip
def test_no_shipped_spec(shipped: Path, release: str, machine: str, why: str) -> None:
    with pytest.raises(PredictionError) as error:
        spec_for(image(release, machine))
    assert why in str(error.value)


def test_a_point_release_decides(shipped: Path) -> None:
    """`since 5.10.100` is for the kernels that have it, whatever the series' newest has."""
    banner = BANNER.format("5.10.0-7-amd64", "1", "5.10.99-1")
    assert "FIXED" not in spec_for(image("5.10.0-7-amd64", text=banner)).machine.features
    assert "FIXED" in spec_for(image("5.10.0-7-amd64", text=banner.replace(".99", ".100"))).machine.features
    assert "FIXED" in spec_for(image("5.10.0-7-amd64")).machine.features


def test_a_spec_that_is_named(shipped: Path) -> None:
    with pytest.raises(TargetError, match=r"not Linux 6\.6\.1 on x86_64"):
        spec_for(image("6.6.1"), shipped / "linux")
    assert spec_for(image("6.6.1"), shipped / "linux-2.6.23" / "i386").machine.name == "i386"
    assert spec_for(image("6.1.1", "i386"), shipped / "linux").machine.name == "i386"
    with pytest.raises(TargetError, match=r"several kernels: Linux 5\.10, 6\.1 on i386"):
        spec_for(image("", "i386"), shipped / "linux")
