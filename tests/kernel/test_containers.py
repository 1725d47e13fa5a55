"""bzImages and Debian packages, made here around a linked kernel."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
import zstandard

from pvspec.kernel import ImageError, open_kernel
from pvspec.kernel.files import compression
from pvspec.kernel.files.codecs import codec_of
from pvspec.kernel.work import Work


def lz4_legacy(data: bytes) -> bytes:
    blocks = (data[at : at + (8 << 20)] for at in range(0, len(data), 8 << 20))
    packed = (lz4.block.compress(block, store_size=False) for block in blocks)
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(block)) + block for block in packed)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstandard.compress,
    "lz4": lz4_legacy,
}


def bzimage(payload: bytes, length: int | None = None, version: int = 0x20F) -> bytes:
    header = bytearray(0x400)
    header[0x1F1] = 1
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", header, 0x206, version)
    struct.pack_into("<II", header, 0x248, 16, len(payload) if length is None else length)
    return bytes(header) + bytes(16) + payload + bytes(100)


def payload(vmlinux: Path, codec: str) -> bytes:
    """As the kernel's build makes it: relocations follow the ELF file, the size follows all but gzip."""
    data = vmlinux.read_bytes() + b"relocations"
    return PACKERS[codec](data) + (b"" if codec == "gzip" else struct.pack("<I", len(data)))


def ar_member(name: str, data: bytes, size: int | None = None) -> bytes:
    size = len(data) if size is None else size
    header = f"{name:16}{0:<12}{0:<6}{0:<6}{100644:<8}{size:<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


def package(data: bytes, suffix: str = "") -> bytes:
    control = ar_member("debian-binary", b"2.0\n") + ar_member("control.tar", b"odd")
    return b"!<arch>\n" + control + ar_member(f"data.tar{suffix}", data)


def tar(contents: bytes, name: str = "./boot/vmlinuz-6.1", **fields: object) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for entry, data in [("./usr/readme", b"text"), (name, contents)]:
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            for key, value in fields.items() if entry == name else ():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize("codec", PACKERS)
def test_bzimage(vmlinux: Path, tmp_path: Path, codec: str) -> None:
    file = tmp_path / "vmlinuz"
    file.write_bytes(bzimage(payload(vmlinux, codec)))
    image, inside = open_kernel(file), open_kernel(vmlinux)
    assert (image.kind, image.memory, image.sections) == ("bzimage", inside.memory, inside.sections)
    image.write(tmp_path / "out", image.memory)
    assert (tmp_path / "out").read_bytes() == vmlinux.read_bytes()


def test_bzimage_of_an_old_protocol_is_searched(vmlinux: Path, tmp_path: Path) -> None:
    file = tmp_path / "vmlinuz"
    file.write_bytes(bzimage(b"\x1f\x8b\x08 not this one" + payload(vmlinux, "gzip"), version=0x203))
    assert open_kernel(file).memory == open_kernel(vmlinux).memory
    file.write_bytes(bzimage(b"\x1f\x8b\x08 not this one", version=0x203))
    with pytest.raises(ImageError, match="without a compressed ELF file"):
        open_kernel(file)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (bzimage(b"\x1f\x8b\x08", length=1 << 20), "is outside the file"),
        (bzimage(b"\x1f\x8b\x08" + bytes(50)), "gzip data is damaged"),
        (bzimage(gzip.compress(b"no ELF")), "is not an ELF file"),
        (bzimage(b"\x89LZO\0\r\n\x1a\n" + bytes(50)), "LZO compression is not supported"),
        (bzimage(b"what is this"), "has an unknown compression"),
        (bzimage(b"")[:0x210], "truncated within its setup header"),
        (b"", "is empty"),
        (b"#!/bin/sh\n", "is not an ELF file, a bzImage, a module or a Debian package"),
        (package(tar(b"")), "is not an ELF file"),
        (package(package(tar(b""))), "damaged Debian package"),
        (package(tar(b"", name="./boot/config-6.1")), "lacks boot/vmlinuz"),
        (package(tar(b"", type=tarfile.SYMTYPE)), "lacks boot/vmlinuz"),
        (package(tar(bytes(9999))[:3000]), "damaged Debian package|is truncated"),
        (package(lzma.compress(tar(os.urandom(9999)))[:5000], ".xz"), "xz data is damaged"),
        (package(b"text"), "damaged Debian package"),
        (b"!<arch>\n" + ar_member("debian-binary", b"2.0\n"), "not a Debian package"),
        (b"!<arch>\n" + ar_member("debian-binary", b"", size=-60), "has no header at 0x8"),
        (b"!<arch>\n" + ar_member("odd", b"", size=10**9), "ar archive is truncated: a member of 1000000000 bytes"),
        (b"!<arch>\nshort", "ar archive ends within a header, at 0x8"),
    ],
)
def test_damaged_containers(tmp_path: Path, contents: bytes, reason: str) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(contents)
    with pytest.raises(ImageError, match=reason) as error:
        open_kernel(file)
    assert str(error.value).startswith(f"{file}: ")


@pytest.mark.parametrize(("suffix", "codec"), [("", None), (".gz", "gzip"), (".xz", "xz"), (".zst", "zstd")])
def test_package(vmlinux: Path, tmp_path: Path, suffix: str, codec: str | None) -> None:
    data = tar(bzimage(payload(vmlinux, "xz")))
    file = tmp_path / "kernel"
    file.write_bytes(package(PACKERS[codec](data) if codec else data, suffix))
    image = open_kernel(file)
    assert (image.kind, image.memory) == ("package", open_kernel(vmlinux).memory)


@pytest.mark.parametrize("codec", PACKERS)
def test_bombs_are_stopped(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "MAX_OUTPUT", 8 << 20)
    bomb = io.BytesIO(PACKERS[codec](bytes(9 << 20)))
    found = codec_of(bomb.getvalue())
    assert found is not None
    assert found.name == codec
    with pytest.raises(ImageError, match=f"{codec} data unpacks to more than 8 MiB"):
        compression.unpack(found, bomb, Work())


@pytest.mark.parametrize("codec", PACKERS)
@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_truncated_data_is_damaged(codec: str, keep: float) -> None:
    packed = PACKERS[codec](os.urandom(100_000))
    packed = packed[: max(16, int(len(packed) * keep))]
    found = codec_of(packed)
    assert found is not None
    with pytest.raises(ImageError, match=f"{codec} data is damaged"):
        compression.unpack(found, io.BytesIO(packed), Work())


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: None])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "kernel"
    make(path)
    with pytest.raises(ImageError, match=r"cannot be read|not a regular file"):
        open_kernel(path)
    with pytest.raises(ImageError, match="not a path"):
        open_kernel("a\0b")
