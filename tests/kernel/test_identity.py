"""Which kernel a dump is of: by its text where there is nothing else, and what is said of another one."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pvspec.kernel import ImageError, KernelImage, Source, open_dump, open_kernel
from pvspec.kernel.dump import banner
from tests.fuzz.elf import ALLOC, EXEC, Part, elf_file

from .cores import Load, core_file
from .moving import table
from .readers import Raising, Short
from .test_moved_dump import BASE, SLIDE

TEXT, RODATA = 0x8000, 0x2000
BANNER = b"Linux version %s (builder@host) (gcc) #1 SMP\n"


def kernel_file(bits: int, seed: int = 1, release: bytes = b"6.1.0-9-test") -> bytes:
    """A kernel with random text, in which some fields move, and with a banner in its read-only data."""
    base, dice = BASE[bits], random.Random(seed)
    text, rodata = bytearray(dice.randbytes(TEXT)), bytearray(dice.randbytes(RODATA))
    rodata[3000:3200] = (BANNER % release).ljust(200, b"\0")
    for at in range(64, TEXT, 512):
        text[at : at + 4] = (base + at & 0xFFFFFFFF).to_bytes(4, "little")
    parts = [Part(".text", bytes(text), base, ALLOC | EXEC), Part(".rodata", bytes(rodata), base + 0x10000)]
    fields = [base + at for at in range(64, TEXT, 512)]
    return elf_file(bits, parts) + table([fields] if bits == 32 else [fields, [], []])


@pytest.fixture(params=[32, 64])
def image(request: pytest.FixtureRequest) -> KernelImage:
    return open_kernel(kernel_file(request.param))


def patched(text: bytes) -> bytes:
    """As it runs: every 64 bytes a site of five bytes is other."""
    changed = bytearray(text)
    for at in range(7, len(text) - 5, 64):
        changed[at : at + 5] = b"\x0f\x1f\x44\x00\x00"
    return bytes(changed)


def running_text(image: KernelImage, slide: int = SLIDE) -> bytes:
    return patched(bytes(image.moved(slide).memory[:TEXT]))


def as_core(image: KernelImage, text: bytes) -> bytes:
    """As perf's copies of /proc/kcore: the text, and a page of a module; physical addresses say nothing."""
    text_place = image.base + SLIDE
    return core_file(image.bits, [Load(text_place, 0x10000000, text), Load(text_place + (1 << 24), 0, b"\x90" * 4096)])


FORMS: list[Callable[[KernelImage, bytes], object]] = [
    as_core,
    lambda image, text: Short({image.base + SLIDE: text}),
    lambda image, text: Raising({image.base + SLIDE: text}),
]


@pytest.mark.parametrize("form", FORMS)
def test_text_alone(image: KernelImage, form: Callable[[KernelImage, bytes], bytes]) -> None:
    text = running_text(image)
    dump = open_dump(form(image, text), image)
    assert dump.slide == SLIDE
    assert dump.read(image.base + SLIDE, TEXT) == text
    with pytest.raises(ImageError, match="has only 0 of the 8 bytes at"):
        dump.read(image.base + SLIDE + 0x10000, 8)


def shifted(text: bytes, at: int) -> bytes:
    """As in another build: from a function on all is elsewhere."""
    return text[:at] + b"\x90" * 16 + text[at:-16]


OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "another kernel": lambda text: random.Random(2).randbytes(len(text)),
    "shifted from the start": lambda text: shifted(text, 0),
    "shifted from the middle": lambda text: shifted(text, TEXT // 2),
    "shifted near the end": lambda text: shifted(text, TEXT - TEXT // 8),
    "one part is another": lambda text: text[: TEXT // 4] + bytes(TEXT // 8) + text[TEXT // 4 + TEXT // 8 :],
    "a third of one part is the same": lambda text: (
        b"".join(text[at : at + 16] if at % 48 == 0 else bytes(16) for at in range(0, TEXT // 16, 16))
        + text[TEXT // 16 :]
    ),
    "zeros": lambda text: bytes(len(text)),
}


@pytest.mark.parametrize("form", FORMS[::2])
@pytest.mark.parametrize("other", OTHERS)
def test_the_text_of_another(image: KernelImage, other: str, form: Callable[[KernelImage, bytes], bytes]) -> None:
    dump = form(image, OTHERS[other](running_text(image)))
    message = "it lacks the read-only data, and less than half of its text is the same; no banner was found"
    with pytest.raises(ImageError, match=f"^<dump>: not a dump of <image> .6.1.0-9-test.: {message}"):
        open_dump(dump, image)


@pytest.mark.parametrize("missing", [1, TEXT // 2])
def test_text_that_is_cut(image: KernelImage, missing: int) -> None:
    with pytest.raises(ImageError, match=r"it lacks memory at 0x[0-9a-f]+, where the read-only data would begin"):
        open_dump(as_core(image, running_text(image)[:-missing]), image)


def test_read_only_data_count_where_they_are(image: KernelImage) -> None:
    """Text that is the same does not outweigh them."""
    moved = image.moved(SLIDE)
    memory = bytearray(moved.memory)
    memory[0x10000:0x10004] = b"1234"
    with pytest.raises(
        ImageError, match=f"4 of 6144 bytes .* .first at {moved.base + 0x10000:#x}.; its banner says 6.1"
    ):
        open_dump(Short({moved.base: bytes(memory)}), image)


@pytest.mark.parametrize(
    ("release", "says"),
    [
        (b"5.10.0-1-other", "its banner says 5.10.0-1-other"),
        (b"6.1.0-9-test", "its banner says 6.1.0-9-test, but of another build"),
        (b"6.1.0" + b"x" * 122, "its banner says 6.1.0x{122}"),
        (b"6.1.0" + b"x" * 123, "its banner says 6.1.0x{123}"),
        (b"6.1.0" + b"x" * 124, "no banner was found in it"),
        (b"none", "no banner was found in it"),
        (b"6.1.0\x1b[31m", "no banner was found in it"),
    ],
)
def test_what_its_banner_says(image: KernelImage, release: bytes, says: str) -> None:
    other = open_kernel(kernel_file(image.bits, 2, release))
    memory = bytes(other.memory)
    core = core_file(image.bits, [Load(0, 0x1000000, bytes(2 << 20)), Load(image.base, 0x8000000, memory)])
    dumps: list[Source] = [memory, core]
    if image.bits == 64:  # in which there are fewer places to look at
        dumps += [Short({image.base: memory}), Raising({image.base: memory})]
    for dump in dumps:
        with pytest.raises(
            ImageError, match=f"read-only data differ .*; ({says})$|{says}; its reader raised FaultError"
        ):
            open_dump(dump, image)
    with pytest.raises(ImageError, match=f"is neither an ELF core nor a flat dump: .*; ({says})$"):
        open_dump(memory + b"\0", image)


@pytest.mark.parametrize("at", range(-60, 5, 4))
def test_a_banner_across_two_pieces(image: KernelImage, at: int) -> None:
    """The memory is searched piece by piece."""
    memory = bytearray(3 << 20)
    text = BANNER % b"5.10.0"
    memory[(1 << 20) + at : (1 << 20) + at + len(text)] = text
    with pytest.raises(ImageError, match=r"its banner says 5\.10\.0$"):
        open_dump(bytes(memory), image)


def test_the_search_for_a_banner_is_bounded(image: KernelImage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banner, "_MAX_BYTES", 2 << 20)
    memory = bytes(3 << 20) + BANNER % b"5.10.0"
    with pytest.raises(ImageError, match=r"no banner was found in its first 2 MiB$"):
        open_dump(memory, image)
