"""What unpacking costs: every stream is counted by what goes in and what comes out, before it is believed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pvspec.kernel import ImageError, open_kernel
from pvspec.kernel.files import bzimage as bzimage_module
from pvspec.kernel.files import codecs, compression, package
from pvspec.kernel.files.codecs import CODECS, MAX_WINDOW, Codec, codec_of
from pvspec.kernel.files.compression import ChunkReader, decompressed, unpack
from pvspec.kernel.work import MAX_WORK, NANOSECONDS, TooMuchWork, Work

from .test_containers import PACKERS, ar_member, bzimage, payload

SEVERAL = ("gzip", "xz", "bzip2", "zstd", "lz4")


def known(data: bytes) -> Codec:
    codec = codec_of(data)
    assert codec is not None
    return codec


def unpacked(data: bytes, work: Work | None = None) -> bytes:
    return unpack(known(data), io.BytesIO(data), work or Work())


@pytest.mark.parametrize("name", PACKERS)
def test_bytes_in_and_out_are_counted(name: str) -> None:
    data = PACKERS[name](bytes(3 << 20))
    codec, work = known(data), Work()
    assert unpacked(data, work) == bytes(3 << 20)
    least = (len(data) * codec.per_input + (3 << 20) * codec.per_output) // NANOSECONDS
    assert least <= work.units <= least + 1000


@pytest.mark.parametrize("name", PACKERS)
def test_it_is_refused_before_it_is_done(name: str) -> None:
    """With hardly any room left, hardly anything is unpacked."""
    data = PACKERS[name](bytes(64 << 20))
    codec = known(data)
    room = (16 << 20) * codec.per_output // NANOSECONDS + len(data) * codec.per_input // NANOSECONDS
    chunks = ChunkReader(decompressed(codec, io.BytesIO(data), Work(MAX_WORK - room)))
    chunks.skip(8 << 20)
    with pytest.raises(TooMuchWork, match=f"^unpacking {name} data would take more time than any kernel's"):
        chunks.skip(9 << 20)


def test_a_byte_that_yields_nothing_costs_more() -> None:
    """LZMA2 can build its tables anew for each byte that it writes; a real stream writes as many as it reads."""
    surplus = Codec("x", b"", lambda source, _: (source.read(1000)[:done] for done in (0, 999, 0, 0)), 1000, 0, 1000)
    work = Work()
    assert len(b"".join(decompressed(surplus, io.BytesIO(bytes(9000)), work))) == 999
    assert work.units * NANOSECONDS // 1_000_000 == 4 + 1 + 1 + 1


def blocks(name: str) -> bytes:
    """Streams of blocks without contents."""
    return {
        "gzip": b"\x1f\x8b\x08" + bytes(7) + b"\0\0\0\xff\xff" * 100_000,
        "zstd": b"\x28\xb5\x2f\xfd\0\0" + bytes(3) * 100_000,
        "lz4": b"\x02\x21\x4c\x18" + b"\1\0\0\0\0" * 2_000,
        "frames of lz4": b"\x02\x21\x4c\x18" * 20_000,
        "xz": lzma.compress(b"") * 1_000,
        "members of gzip": gzip.compress(b"") * 1_000,
        "streams of bzip2": bz2.compress(b"") * 1_000,
        "frames of zstd": zstandard.compress(b"") * 1_000,
    }[name]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("gzip", 500_000 * 80),
        ("zstd", 300_000 * 30),
        ("lz4", 2_000 * 1_000),
        ("frames of lz4", 20_000 * 1_000),
        *[(name, 1_000 * 10_000) for name in ("xz", "members of gzip", "streams of bzip2", "frames of zstd")],
    ],
)
def test_streams_without_contents_are_counted(name: str, least: int) -> None:
    """In nanoseconds: those that end, and those that do not."""
    work = Work()
    try:
        found = unpacked(blocks(name), work)
    except ImageError as error:
        assert "it ends early" in str(error)  # noqa: PT017  # either outcome is fine
    else:
        assert found == b""
    assert work.units >= least // NANOSECONDS


@pytest.mark.parametrize("name", SEVERAL)
def test_streams_that_follow_each_other(name: str) -> None:
    pack = PACKERS[name]
    parts = [b"one" * 99_999, b"", b"three", bytes(2 << 20)]
    data = b"".join(map(pack, parts))
    assert unpacked(data) == b"".join(parts)
    if name != "lz4":  # in which nothing tells a block from what is none
        assert unpacked(data + b"rest") == unpacked(data + b"rest" * 99_999) == b"".join(parts)


@pytest.mark.parametrize("name", [name for name in SEVERAL if name != "lz4"])
def test_a_bzimage_has_one_stream(vmlinux: Path, tmp_path: Path, name: str) -> None:
    """The kernel's own loader stops after the first one: what follows it must not become a table of relocations."""
    more = PACKERS[name](b"never loaded" * 99)
    (tmp_path / "kernel").write_bytes(bzimage(PACKERS[name](vmlinux.read_bytes()) + more + b"size"))
    image = open_kernel(tmp_path / "kernel")
    assert image.relocations is None
    assert image.memory == open_kernel(vmlinux).memory


@pytest.mark.parametrize(
    "data",
    [
        lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": MAX_WINDOW}]),
        struct.pack("<BIQ", 0x5D, 1 << 30, 9) + bytes(20),
        b"\x28\xb5\x2f\xfd\0" + bytes([31 - 10 << 3]) + b"\1\0\0",
    ],
    ids=["xz", "lzma", "zstd"],
)
def test_windows_have_a_bound(data: bytes) -> None:
    with pytest.raises(ImageError, match="data takes more than 192 MiB of memory to unpack: unpack it first"):
        unpacked(data)


def test_the_kernels_own_windows_are_let_in() -> None:
    """scripts/xz_wrap.sh and `zstd --ultra -22` ask for 128 MiB."""
    assert unpacked(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}])) == b"x"
    assert unpacked(b"\x28\xb5\x2f\xfd\0" + bytes([27 - 10 << 3]) + b"\x0b\0\0x") == b"x"


@pytest.mark.parametrize("size", [8_421_521, 1 << 31, (1 << 32) - 1])
def test_blocks_of_lz4_have_a_bound(size: int) -> None:
    with pytest.raises(ImageError, match=f"lz4 data is damaged: a block of {size} bytes is longer than any"):
        unpacked(b"\x02\x21\x4c\x18" + struct.pack("<I", size) + bytes(99))


def test_memory_that_is_not_there_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(zlib, "decompressobj", fail)
    with pytest.raises(MemoryError):
        unpacked(gzip.compress(b"x"))


def test_all_candidates_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of sixteen bombs in an old bzImage would be within it."""
    monkeypatch.setattr(compression, "MAX_OUTPUT", 1 << 20)
    bomb = bz2.compress(b"\x7fELF" + bytes(3 << 20))
    codec = known(bomb)
    each = (1 << 20) * codec.per_output // NANOSECONDS
    image = bzimage(bomb * 16, version=0x203)
    with pytest.raises(ImageError, match="without a compressed ELF file"):
        bzimage_module.extract_vmlinux(image, Work())
    with pytest.raises(TooMuchWork, match="unpacking bzip2 data"):
        bzimage_module.extract_vmlinux(image, Work(MAX_WORK - 8 * each))


def test_old_bzimages_have_a_bound(vmlinux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bzimage(payload(vmlinux, "gzip"), version=0x203)
    monkeypatch.setattr(bzimage_module, "MAX_SEARCHED", len(image) - 1)
    with pytest.raises(ImageError, match=r"of a boot protocol before 2.08 has 0 MiB: more than 0"):
        bzimage_module.extract_vmlinux(image, Work())


def test_payloads_have_a_bound(vmlinux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = bzimage(payload(vmlinux, "gzip"))
    monkeypatch.setattr(bzimage_module, "MAX_OUTPUT", 4)
    with pytest.raises(ImageError, match="bzImage payload has 0 MiB: more than 0"):
        bzimage_module.extract_vmlinux(image, Work())


@pytest.mark.parametrize("start", range(0x1F0, 0x260, 3))
def test_a_payload_anywhere(vmlinux: Path, start: int) -> None:
    """Whatever the header says: an ImageError or a kernel."""
    image = bytearray(bzimage(payload(vmlinux, "gzip")))
    for value in (0, 1, 0x7F, 0xFF):
        image[start] = value
        try:
            open_kernel(bytes(image))
        except ImageError as error:
            assert str(error).startswith("<image>: ")  # noqa: PT017  # either outcome is fine


def members(files: dict[str, bytes]) -> bytes:
    """A tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        for name, contents in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            out.addfile(info, io.BytesIO(contents))
    return archive.getvalue()


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, zstandard.compress], ids=["stored", "gzip", "zstd"])
def test_what_comes_before_a_kernel_is_counted(pack: Callable[[bytes], bytes]) -> None:
    """If it is compressed it must be unpacked; what is stored is passed over."""
    archive = pack(members({"./junk": bytes(9 << 20), "./boot/vmlinuz-1": b"kernel"}))
    work = Work()
    image = package.MAGIC + ar_member("data.tar", archive)
    assert package.extract_vmlinuz(image, work) == b"kernel"
    assert (work.units > (9 << 20) * 4 // NANOSECONDS) == (pack(b"x") != b"x")


def test_every_codec_has_a_price() -> None:
    assert all(codec.per_input > 0 and codec.per_output > 0 for codec in CODECS if codec.name != "lzo")


def test_what_is_pending_may_give_nothing() -> None:
    """A decoder that has more than it was asked for may need more for the next byte: Debian's 6.12 amd64 is such."""

    class Decoder:
        states = iter([(b"a", False, False), (b"", True, False), (b"b", True, True)])
        needs_input, eof, unused_data = True, False, b""

        def decompress(self, data: bytes, max_length: int) -> bytes:
            found, self.needs_input, self.eof = next(self.states)
            return found

    class Source:
        def read(self, size: int) -> bytes:
            return b"more"

        def begin(self) -> None:
            pass

    assert b"".join(codecs._streams(b"m", Decoder, Source(), False)) == b"ab"
