"""How much work all inputs of one kernel have asked for: its image, symbols, dump and tables together."""

from __future__ import annotations

from pvspec.kernel.errors import ImageError

MAX_WORK = 78_000_000
"""Work that the inputs of one kernel may ask for, in units of about 0.12 microseconds; more is refused before it is
done. Debian's 6.12 with call depth tracking, the costliest that is known, asks for 68 million, and for 76 million if
all its sites are listed (`predict --json`)."""

NANOSECONDS = 150
"""What one unit of work is when an archive or a stream is unpacked, whose prices were measured on a busy machine."""


class TooMuchWork(ImageError):
    """An input asks for more work than MAX_WORK: nothing else of it must be tried."""


class Work:
    """A meter that every stage adds to before it does what it announces, so that not each has a limit of its own."""

    def __init__(self, units: int = 0) -> None:
        self.units = units

    def __repr__(self) -> str:
        return f"<Work: {self.units} of {MAX_WORK} units>"

    def continued(self) -> Work:
        """A meter that begins where this one is: for what may be done many times with one kernel, each time anew."""
        return Work(self.units)

    def add(self, units: int, what: str) -> None:
        """Count work that is about to be done; TooMuchWork, which names `what` asks for it, if it is too much."""
        self.units += units
        if self.units > MAX_WORK:
            raise TooMuchWork(f"{what} would take more time than any kernel's: it is damaged, or made to do so")
