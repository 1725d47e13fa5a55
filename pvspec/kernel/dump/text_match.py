"""Recognising a kernel by its text alone, as in perf's copies of /proc/kcore, which have no read-only data.

The text of a running kernel is patched, perhaps every few instructions. But sites are short, and the code between them
does not change. In another build, nearly everything after the first function that differs is elsewhere.
"""

from __future__ import annotations

from pvspec.kernel.dump.fingerprint import Read, Sample, sample
from pvspec.kernel.image.image import KernelImage
from pvspec.kernel.work import Work

_BLOCK = 16
_REGIONS = 16
_BLOCK_WORK = 3  # units
_ALIKE = 2  # one block in so many must be the same, in each region


class TextMatch:
    """The section `.text` of an image; without one, nothing matches."""

    def __init__(self, image: KernelImage, work: Work) -> None:
        self._image, self._work = image, work
        self._sample: Sample | None = None
        section = image.sections.get(".text")
        self._has_text = section is not None and section.allocated and section.size >= _BLOCK * _REGIONS
        self._start, self._size = (section.address, section.size) if section is not None else (0, 0)

    def present(self, read: Read) -> bool:
        """Whether `read`, which reads at the image's addresses, has all of the text, by its ends."""
        ends = self._start, self._start + self._size - 1
        return self._has_text and all(read(address, 1) for address in ends)

    def matches(self, read: Read, slide: int) -> bool:
        """Whether it is this kernel's text at that slide, apart from what patching may have changed; takes 0.5 s."""
        if self._sample is None:
            self._sample = sample(self._image, self._start, self._size, self._work)
        self._work.add(self._size // _BLOCK * _BLOCK_WORK, "comparing a dump with the kernel's text")
        expected, found = self._sample.at(slide - self._image.slide, self._work), read(self._start, self._size)
        blocks = [
            found[at : at + _BLOCK] == expected[at : at + _BLOCK]
            for at in range(0, self._size - self._size % _BLOCK, _BLOCK)
        ]
        per_region = len(blocks) // _REGIONS
        regions = (blocks[number * per_region : (number + 1) * per_region] for number in range(_REGIONS))
        return all(sum(region) * _ALIKE >= per_region for region in regions)
