"""ar and tar archives, read as other readers read them; and archives that mean harm."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvspec.kernel import ImageError, open_kernel
from pvspec.kernel.files import ar, tar
from pvspec.kernel.files.compression import ChunkReader
from pvspec.kernel.files.tar import first_file
from pvspec.kernel.work import MAX_WORK, NANOSECONDS, TooMuchWork, Work

from .test_containers import ar_member, package

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAME = "boot/vmlinuz-6.1"


def stream(data: bytes, piece: int = 700) -> ChunkReader:
    return ChunkReader(data[at : at + piece] for at in range(0, len(data), piece))


def find(data: bytes, name: str = NAME, work: Work | None = None) -> bytes | None:
    return first_file(stream(data), lambda found: found == name.encode(), work or Work())


def entry(name: str = NAME, size: int = 0, kind: bytes = b"0", records: dict[str, str] | None = None) -> bytes:
    """A header, and before it an extended one with these records; the checksums are right."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.pax_headers = size, kind, records or {}
    return info.tobuf(tarfile.PAX_FORMAT if records else tarfile.GNU_FORMAT)


def with_size(field: bytes, header: bytes | None = None) -> bytes:
    """A header with these 12 bytes as its size, and the checksum that follows."""
    block = bytearray(header or entry())
    block[124:136] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


names = st.one_of(
    st.text("abc/.-", min_size=1, max_size=300),
    st.integers(90, 110).map(lambda size: "n" * size),
    st.integers(150, 260).map(lambda size: "d" * (size // 2) + "/" + "n" * (size // 2)),
    st.sampled_from(["é" * 60, "long/" * 900 + "name"]),
).map(lambda name: name.strip("/") or "x")
files = st.lists(st.tuples(names, st.sampled_from([0, 1, 511, 512, 513, 1500])), max_size=6)


@given(files, st.sampled_from(sorted(FORMATS)), st.integers(1, 2000))
def test_as_tarfile_reads_it(files: list[tuple[str, int]], format: str, piece: int) -> None:
    """Its own archives, in all formats: names of all lengths, and contents that fill blocks or do not."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=FORMATS[format]) as out:
        for number, (name, size) in enumerate(files):
            info = tarfile.TarInfo(name)
            info.size = size
            with suppress(ValueError):  # a name that ustar cannot have
                out.addfile(info, io.BytesIO(bytes([number]) * size))
    data = archive.getvalue()
    with tarfile.open(fileobj=io.BytesIO(data)) as witness:
        for member in reversed(witness.getmembers()):  # of those that share a name, the first one is last
            file = witness.extractfile(member)
            wanted = member.name.encode()
            first = next(other for other in witness.getmembers() if other.name == member.name)
            assert file is not None
            if first is member:
                assert first_file(stream(data, piece), wanted.__eq__, Work()) == file.read()
    assert find(data, "another") is None


def made(folder: Path, *command: str) -> bytes:
    try:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of each kind; the last one is wanted."""
    (tmp_path / "boot").mkdir()
    (tmp_path / NAME).write_bytes(b"kernel" * 999)
    (tmp_path / "a-link").symlink_to(NAME)
    (tmp_path / "a-hard-link").hardlink_to(tmp_path / NAME)
    (tmp_path / ("a" * 98)).write_bytes(b"odd")
    (tmp_path / "a-folder").mkdir()
    with (tmp_path / "a-sparse-file").open("wb") as file:
        for at in range(0, 99 << 20, 1 << 20):
            file.seek(at)
            file.write(b"x")
    return tmp_path


SPARSE = ((), ("--sparse", "--sparse-version=0.0"), ("--sparse-version=0.1", "--sparse"), ("--sparse",))


@pytest.mark.parametrize(
    ("format", "more"),
    [("v7", ()), ("ustar", ()), *((format, more) for format in ("oldgnu", "gnu", "pax") for more in SPARSE)],
)
def test_as_tar_writes_it(tree: Path, format: str, more: tuple[str, ...]) -> None:
    order = sorted(path.name for path in tree.iterdir() if path.name not in ("boot", "a-hard-link"))
    data = made(tree, "tar", "-c", f"--format={format}", *more, *order, NAME, "a-hard-link")
    assert find(data) == (tree / NAME).read_bytes()
    assert find(data, "a" * 98) == b"odd"
    for other in ("a-link", "a-hard-link", "a-folder", "a-folder/", "boot/", "none"):
        assert find(data, other) is None
    if more:
        with pytest.raises(ValueError, match="'a-sparse-file' in its tar archive is sparse"):
            find(data, "a-sparse-file")


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", "zstd"])
def test_as_dpkg_makes_it(vmlinux: Path, tmp_path: Path, compression: str) -> None:
    folder = tmp_path / "package"
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "boot").mkdir()
    (folder / "DEBIAN" / "control").write_text(
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    )
    (folder / NAME).write_bytes(vmlinux.read_bytes())
    made(tmp_path, "dpkg-deb", f"-Z{compression}", "--build", "package", "kernel.deb")
    image = open_kernel(tmp_path / "kernel.deb")
    assert (image.kind, image.memory) == ("package", open_kernel(vmlinux).memory)


def test_as_ar_makes_it(tmp_path: Path) -> None:
    """Members of odd sizes, and names with a slash after them."""
    parts = {"debian-binary": b"2.0\n", "odd": b"123", "data.tar": b"tar", "even": b"12"}
    for name, contents in parts.items():
        (tmp_path / name).write_bytes(contents)
    made(tmp_path, "ar", "rc", "out.deb", *parts)
    data = (tmp_path / "out.deb").read_bytes()
    assert {name.decode(): data[at : at + size] for name, at, size in ar.members(data)} == parts


HUGE = 1 << 70
HARMFUL: dict[str, tuple[bytes, str]] = {
    "a size of 2^70": (with_size(b"\x80" + HUGE.to_bytes(11, "big"), entry("x")), f"a file of {HUGE} bytes, and only"),
    "a negative size": (with_size(b"\xff" * 12), "damaged number"),
    "a size with a sign": (with_size(b"-0000000001\0"), "damaged number"),
    "a size that is no number": (with_size(b"0x0000000001"), "damaged number"),
    "a size with 8 and 9": (with_size(b"00000000089\0"), "damaged number"),
    "a wrong checksum": (entry().replace(b"vmlinuz", b"vmlinux"), "wrong checksum"),
    "no checksum": (b"x" * 512, "damaged number"),
    "a long name of 499 MiB": (entry("", 499 << 20, b"L"), "a name or an extended header of 523239424 bytes"),
    "a long link of 499 MiB": (entry("", 499 << 20, b"K"), "a name or an extended header of 523239424 bytes"),
    "an extended header of 2^70 bytes": (with_size(b"\x80" + HUGE.to_bytes(11, "big"), entry("", 0, b"x")), "of 118"),
    "a global one of 65,537": (entry("", 65537, b"g") + bytes(66000), "an extended header of 65537 bytes"),
    "one that is cut short": (entry("", 600, b"x") + bytes(512), "is truncated within an extended header"),
    "a kernel that is cut short": (entry(size=600) + bytes(512), f"is truncated within '{NAME}'"),
    "a kernel that is too large": (entry(size=193 << 20), "is sparse, or has more than 192 MiB"),
    "a header that is cut short": (entry("x") + entry()[:511], "is truncated within a header"),
    "a link with contents": (with_size(b"00000000001\0", entry(kind=b"2")), "is a link, a folder or a device, but has"),
    "a sparse kernel": (entry(kind=b"S"), "is sparse, or has more"),
    **{
        f"the record {record!r}": (entry("", len(record), b"x") + padded(record) + entry(), "damaged extended header")
        for record in (
            b"path=x\n",
            b"0 path=x\n",
            b"-9 path=x\n",
            b"9 path=xx",
            b"99 path=x\n",
            b"1 \n",
            b"9" * 4000 + b" path=x\n",
            b"000012 path=x\n",
            b"8 a=bcd\n0 path=x\n",
            b"\xb2 path=x\n",
        )
    },
    **{
        f"the size {size!r}": (entry(records={"size": size}), "has no size")
        for size in ("-1", "9" * 21, "1e9", "0x1", "²")
    },
}


@pytest.mark.parametrize(("archive", "message"), HARMFUL.values(), ids=HARMFUL)
def test_harmful_archives(tmp_path: Path, archive: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(archive)
    (tmp_path / "kernel.deb").write_bytes(package(archive))
    with pytest.raises(ImageError, match=f"damaged Debian package: .*{message}"):
        open_kernel(tmp_path / "kernel.deb")


MANY: dict[str, Callable[[], bytes]] = {
    "empty files": lambda: entry("x") * 3000,
    "sparse maps": lambda: bytes(entry("x", kind=b"S")[:482] + b"\1" + bytes(29)) + (b"x" * 512) * 3000,
    "long names": lambda: (entry("", 512, b"L") + b"x" * 512) * 3000,
    "long links": lambda: (entry("", 512, b"K") + b"x" * 512) * 3000,
    "extended headers": lambda: (entry("", 512, b"x") + b"4 =\n" * 128) * 300,
    "global headers": lambda: (entry("", 512, b"g") + b"4 =\n" * 128) * 300,
}


@pytest.mark.parametrize("kind", MANY)
def test_what_has_no_contents_is_counted(kind: str) -> None:
    """A stream of a few bytes may unpack to millions of headers."""
    data = MANY[kind]()
    if kind == "sparse maps":
        block = bytearray(entry("x", kind=b"S"))
        block[482] = 1
        data = with_size(b"0" * 11 + b"\0", bytes(block)) + (b"x" * 512) * 3000
    work = Work()
    find(data, work=work)
    assert work.units * NANOSECONDS > len(data) * (150 if kind.endswith("headers") else 15)
    with pytest.raises(TooMuchWork, match="reading the names of a package's files would take more time"):
        find(data, work=Work(MAX_WORK - work.units // 2))


@given(st.data())
@settings(max_examples=300)
def test_damage_anywhere(data: st.DataObject) -> None:
    """Whatever was changed: a ValueError, or contents that are in the archive."""
    whole = bytearray(
        entry("", 513, b"L")
        + b"n" * 512
        + bytes(512)
        + entry("x", 5)
        + padded(b"hello")
        + entry(size=6, records={"comment": "ö"})
        + padded(b"kernel")
        + bytes(1024)
    )
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=8)):
        whole[place] = data.draw(st.integers(0, 255))
    found = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        contents = find(found)
    except ValueError:
        return
    assert contents is None or contents in found


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (ar_member("x", b"", size=-60), "has no header at 0x8"),
        (ar_member("x", b"", size=1 << 33), "is truncated: a member of 8589934592 bytes at 0x44"),
        (ar_member("x", b"12", size=3), "is truncated: a member of 3 bytes at 0x44"),
        (ar_member("x", b"").replace(b"`\n", b"``"), "has no header at 0x8"),
        (ar_member("x", b"").replace(b"0         `", b"0x        `"), "has no header at 0x8"),
        (ar_member("x", b"").replace(b"0         `", b"          `"), "has no header at 0x8"),
        (ar_member("odd", b"123")[:-1] + ar_member("x", b"12"), "has no header at 0x48"),
        (ar_member("x", b"") + b"rest", "ends within a header, at 0x44"),
    ],
)
def test_harmful_ar_archives(members: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"^its ar archive {message}"):
        list(ar.members(ar.MAGIC + members))


def test_members_have_a_bound() -> None:
    data = ar.MAGIC + ar_member("x", b"") * 1000
    assert len(list(ar.members(data))) == ar.MAX_MEMBERS


def test_times_are_no_part_of_a_name() -> None:
    """Where ustar has the beginning of a long name, GNU tar may have when a file was read and changed."""
    block = bytearray(entry("x", 5))
    block[345:369] = b"01234567012\0" * 2
    assert find(with_size(b"00000000005\0", bytes(block)) + padded(b"hello"), "x") == b"hello"


def test_extensions_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "n" * 999
    archive = entry(name, 5) + padded(b"hello")
    monkeypatch.setattr(tar, "MAX_EXTENSION", 1000)
    assert find(archive, name) == b"hello"
    monkeypatch.setattr(tar, "MAX_EXTENSION", 999)
    with pytest.raises(ValueError, match="a name or an extended header of 1000 bytes"):
        find(archive, name)


def test_what_an_extension_says_is_of_the_next_file_alone() -> None:
    extended = entry("", 16, b"x") + padded(b"16 path=another\n")
    archive = extended + entry("x", 5) + padded(b"hello") + entry("y", 3) + padded(b"bye")
    assert (find(archive, "another"), find(archive, "x"), find(archive, "y")) == (b"hello", None, b"bye")
    everywhere = entry("", 16, b"g") + archive[16 * 32 :]
    assert find(everywhere, "another") == b"hello"
    assert find(everywhere, "y") is None
    empty = entry("", 8, b"x") + padded(b"8 path=\n") + entry("x", 5) + padded(b"hello")
    assert find(empty, "x") == b"hello"
