"""Images, dumps and symbols from paths, bytes and readers: the same either way; and readers that are wrong."""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvspec.kernel import ImageError, KernelImage, Source, open_dump, open_kernel
from pvspec.kernel.files import reader as reader_module
from pvspec.kernel.files.reader import CheckedReader

from .binutils import run
from .readers import KINDS, LIES, Either, FaultError, Raising, Short, fail, hostile
from .test_containers import bzimage, package, payload, tar
from .test_moved_dump import SLIDE, kernel_file, mapped, running

Kind = type[Short]


def sources(data: bytes, path: Path) -> list[Source]:
    path.write_bytes(data)
    return [path, str(path), data, bytearray(data), memoryview(data), *(kind({0: data}) for kind in KINDS)]


@pytest.mark.parametrize("form", ["vmlinux", "bzimage", "package", "module"])
def test_an_image(vmlinux: Path, tmp_path: Path, form: str) -> None:
    kernel = open_kernel(vmlinux)
    data = {
        "vmlinux": vmlinux.read_bytes,
        "bzimage": lambda: bzimage(payload(vmlinux, "xz")),
        "package": lambda: package(tar(bzimage(payload(vmlinux, "gzip")))),
        "module": vmlinux.with_name("kernel.o").read_bytes,
    }[form]()
    first, *others = [open_kernel(source) for source in sources(data, tmp_path / "file")]
    for image in others:
        assert (image.kind, image.memory, image.sections) == (first.kind, first.memory, first.sections)
        assert list(image.symbols) == list(first.symbols)
        assert image.exports == first.exports
    if form != "module":
        assert first.memory == kernel.memory


def test_symbols(vmlinux: Path, tmp_path: Path) -> None:
    data = run("nm", f"{vmlinux}.symbols").encode()
    for source in sources(data, tmp_path / "System.map"):
        symbols = open_kernel(vmlinux, symbols=source).symbols
        assert symbols.source == "System.map"
        assert symbols.address("start_kernel") == open_kernel(vmlinux).base


@pytest.fixture(params=[32, 64])
def image(request: pytest.FixtureRequest) -> KernelImage:
    return open_kernel(kernel_file(request.param))


def test_a_dump(image: KernelImage, tmp_path: Path) -> None:
    """A file's contents, and virtual memory of the running kernel."""
    memory, start = running(image), image.base + SLIDE
    files = sources(mapped(image), tmp_path / "dump")[: -len(KINDS)]
    for source in [*files, *(kind({start: memory}) for kind in KINDS)]:
        dump = open_dump(source, image)
        assert dump.slide == SLIDE
        assert dump.read(start, 8192) == memory[:8192]
        assert dump.up_to(image.end + SLIDE - 8, 100) == b"ABCDEFGH"
        with pytest.raises(ImageError, match="has only 0 of the 1 bytes at"):
            dump.read(start - 1, 1)
        assert dump.up_to(-5, 5) == dump.up_to((1 << 64) - 1, 5) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_dump_with_gaps(image: KernelImage, kind: Kind) -> None:
    """A raising reader is asked for less, until what there is has been read."""
    memory, start = running(image), image.base + SLIDE
    reader = kind({start: memory[:7777], start + 7778: memory[7778:]})
    dump = open_dump(reader, image)
    assert dump.up_to(start, len(memory)) == memory[:7777]
    assert dump.up_to(start + 7777, 5) == b""
    assert dump.read(start + 7778, 300) == memory[7778:8078]


@pytest.mark.parametrize("lie", LIES)
def test_hostile_readers(image: KernelImage, lie: str) -> None:
    answer, message = LIES[lie]
    for attempt in (
        lambda: open_kernel(hostile(answer)),
        lambda: open_kernel(hostile(answer), name="gdb"),
        lambda: open_kernel(kernel_file(64), symbols=hostile(answer)),
        lambda: open_dump(hostile(answer), image),
        lambda: open_dump(hostile(answer), image, name="gdb"),
    ):
        with pytest.raises(ImageError, match=f"^(<image>|<dump>|<symbols>|gdb): {message}"):
            attempt()


@pytest.mark.parametrize("lie", LIES)
def test_a_reader_that_changes_its_mind(image: KernelImage, lie: str) -> None:
    """It may also begin to be hostile once the dump has been opened."""
    honest, (answer, message) = Short({image.base: bytes(image.memory)}), LIES[lie]
    lying: list[bool] = []
    dump = open_dump(Either(honest, hostile(answer), lying), image)
    assert dump.read(image.base, 64) == image.read(image.base, 64)
    lying.append(True)
    with pytest.raises(ImageError, match=f"^<dump>: {message}"):
        dump.read(image.base, 64)


@pytest.mark.parametrize(
    "error", [FaultError("gone"), OSError(5, "Input/output error"), ValueError(), RecursionError()]
)
def test_a_reader_that_only_raises(image: KernelImage, error: Exception) -> None:
    said = "Input/output error" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    with pytest.raises(ImageError, match=f"^<image>: cannot be read: {re.escape(said)}"):
        open_kernel(hostile(fail(error)))
    with pytest.raises(ImageError, match=f"^<dump>: not a dump of .*; its reader raised {type(error).__name__}"):
        open_dump(hostile(fail(error)), image)


def test_one_that_is_interrupted(image: KernelImage) -> None:
    def interrupt(_: int) -> object:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dump(hostile(interrupt), image)


def test_a_reader_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_FILE", 3 << 20)
    with pytest.raises(ImageError, match="its reader has more than 3 MiB: no kernel file is so large"):
        open_kernel(hostile(bytes))
    with pytest.raises(ImageError, match="is not an ELF file"):
        open_kernel(Short({0: bytes(3 << 20)}))


def test_no_bytes(image: KernelImage) -> None:
    for empty in (b"", hostile(lambda _: b"")):
        with pytest.raises(ImageError, match=r"^<image>: is empty$"):
            open_kernel(empty)
    with pytest.raises(ImageError, match=r"^<dump>: is neither an ELF core nor a flat dump: it is 0 bytes long"):
        open_dump(b"", image)
    with pytest.raises(ImageError, match=r"^<dump>: not a dump of <image> .*: it lacks memory at"):
        open_dump(hostile(lambda _: b""), image)


@pytest.mark.parametrize("source", [5, None, [b""], object()])
def test_what_is_no_source(image: KernelImage, source: Source) -> None:
    message = f"cannot read {type(source).__name__}: give a path, bytes, or an object with read"
    with pytest.raises(ImageError, match=f"^<image>: {message}"):
        open_kernel(source)
    with pytest.raises(ImageError, match=f"^<dump>: {message}"):
        open_dump(source, image)


def test_an_open_file_is_no_reader(image: KernelImage) -> None:
    """Its `read` takes a size alone."""
    with pytest.raises(ImageError, match="cannot be read: TypeError"):
        open_kernel(io.BytesIO(kernel_file(64)))  # type: ignore[arg-type]


@given(st.data())
def test_whatever_is_missing(data: st.DataObject) -> None:
    """Each kind of reader tells the bytes before the first gap, against a plain model; and is asked within bounds."""
    present = data.draw(st.lists(st.booleans(), min_size=1, max_size=40))
    at = data.draw(st.integers(0, len(present)))
    size = data.draw(st.integers(0, len(present)))
    memory = {1000 + number: bytes([number]) for number, there in enumerate(present) if there}
    expected = bytes(at + offset for offset in range(size))
    while any(1000 + number not in memory for number in expected):
        expected = expected[:-1]
    for kind in KINDS:
        reader = kind(memory)
        assert CheckedReader(reader).up_to(1000 + at, size) == expected
        assert all(asked > 0 for _, asked in reader.asked)
        assert len(reader.asked) <= 2 + 2 * 6


def test_the_ends_of_memory() -> None:
    last = (1 << 64) - 16
    reader = Raising({last: bytes(range(16))})
    assert CheckedReader(reader).up_to(last + 8, 100) == bytes(range(8, 16))
    assert all(address + size <= 1 << 64 for address, size in reader.asked)


def test_the_name_in_messages(image: KernelImage, tmp_path: Path) -> None:
    assert open_kernel(kernel_file(64)).name == "<image>"
    assert open_kernel(kernel_file(64), name="guest 7").name == "guest 7"
    (tmp_path / "k").write_bytes(kernel_file(64))
    assert open_kernel(tmp_path / "k").name == str(tmp_path / "k")
    assert open_kernel(tmp_path / "k", name="guest 7").name == "guest 7"
    with pytest.raises(ImageError, match=r"^guest 7: 1 bytes at 0x0 are outside the image"):
        open_kernel(kernel_file(64), name="guest 7").read(0, 1)
    dump = open_dump(bytes(image.memory), image, name="guest 8")
    assert dump.name == "guest 8"
    with pytest.raises(ImageError, match=r"^guest 8: has only 0 of the 1 bytes at 0x0$"):
        dump.read(0, 1)


class TestValues:
    """What is handed out pickles, copies, and is shown in one line."""

    COPIES: tuple[Callable[[object], object], ...] = (
        copy.copy,
        copy.deepcopy,
        lambda it: pickle.loads(pickle.dumps(it)),
    )

    @pytest.fixture
    def kernel(self, tmp_path: Path) -> KernelImage:
        """Of a mapped file."""
        (tmp_path / "kernel").write_bytes(kernel_file(64))
        return open_kernel(tmp_path / "kernel")

    @pytest.mark.parametrize("duplicate", COPIES)
    @pytest.mark.parametrize("used", [False, True])
    def test_images(
        self, kernel: KernelImage, tmp_path: Path, duplicate: Callable[[object], object], used: bool
    ) -> None:
        for image in (kernel, kernel.moved(SLIDE)):
            if used:
                assert image.relocations is not None
                assert image.exports == {}
                assert len(image.symbols) == 0
            other = duplicate(image)
            assert isinstance(other, KernelImage)
            assert (other.memory, other.sections, other.segments) == (image.memory, image.sections, image.segments)
            assert (other.executable, other.slide, other.name) == (image.executable, image.slide, image.name)
            assert list(other.symbols) == list(image.symbols)
            assert other.relocations == image.relocations
            assert other.exports == image.exports
            other.write(tmp_path / "other", other.memory)
            image.write(tmp_path / "image", image.memory)
            assert (tmp_path / "other").read_bytes() == (tmp_path / "image").read_bytes()
            assert duplicate(image.relocations) == image.relocations
        assert duplicate(kernel).moved(SLIDE).memory == kernel.moved(SLIDE).memory  # type: ignore[attr-defined]

    @pytest.mark.parametrize("duplicate", COPIES)
    def test_modules(self, vmlinux: Path, duplicate: Callable[[object], object]) -> None:
        """With their kernel, and with fields that wait for a symbol."""
        symbols = run("nm", f"{vmlinux}.symbols").encode()
        for image in (
            open_kernel(vmlinux.with_name("kernel.o"), kernel=open_kernel(vmlinux, symbols=symbols)),
            open_kernel(vmlinux, symbols=Short({0: symbols})),
        ):
            other = duplicate(image)
            assert isinstance(other, KernelImage)
            assert list(other.unresolved) == list(image.unresolved)
            assert other.resolve("start_kernel") == image.resolve("start_kernel") is not None
            assert duplicate(image.symbols).name_of(image.base) == image.symbols.name_of(image.base)  # type: ignore[attr-defined]
            assert duplicate(image.sections[".text"]) == image.sections[".text"]

    @pytest.mark.parametrize("duplicate", COPIES)
    def test_dumps(self, image: KernelImage, duplicate: Callable[[object], object]) -> None:
        start = image.base + SLIDE
        for source in (mapped(image), Short({start: running(image)})):
            dump = open_dump(source, image)
            other = duplicate(dump)
            assert other.slide == SLIDE  # type: ignore[attr-defined]
            assert other.read(start, 8192) == dump.read(start, 8192)  # type: ignore[attr-defined]

    def test_dumps_of_files(self, image: KernelImage, tmp_path: Path) -> None:
        """They are copied, but not pickled: what another process opens at the path may be another dump."""
        path = tmp_path / "dump"
        path.write_bytes(mapped(image))
        dump = open_dump(path, image)
        for other in (copy.copy(dump), copy.deepcopy(dump)):
            assert other.read(image.base + SLIDE, 64) == dump.read(image.base + SLIDE, 64)
        with pytest.raises(TypeError, match=f"a dump of the file {path} cannot be pickled: pickle the path"):
            pickle.dumps(dump)

    def test_they_are_shown_in_one_line(self, kernel: KernelImage) -> None:
        dump = open_dump(running(kernel), kernel)
        moved = kernel.moved(SLIDE)
        for value in (kernel, moved, dump, kernel.symbols, kernel.relocations, kernel._elf, kernel._layout, moved._elf):
            shown = repr(value)
            assert "\n" not in shown
            assert len(shown) < 250, shown
            assert "x11" not in shown
        assert repr(kernel) == (
            f"<KernelImage {kernel.name}: vmlinux of unknown release for x86_64, {kernel.base:#x} to {kernel.end:#x}>"
        )
        assert repr(dump) == "<Dump <dump>: slide 0x1e00000>"
        assert repr(kernel.symbols) == "<SymbolTable none: 0 symbols>"
