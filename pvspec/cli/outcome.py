"""How a command ends, whatever happens to it: one line about it, and an exit status that says what it was.

A command that is stopped (Ctrl-C, SIGTERM, SIGHUP, SIGXCPU) or whose reader goes away ends as if by that signal, so
that shells and their scripts see what they expect. Until then a signal is an exception, and whoever has begun a file
removes it.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TextIO

_BY_SIGNAL = 128  # and the signal's number: the status that shells give to a process which a signal ended
_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)
_WHY: dict[int, str] = {signal.SIGXCPU: ": the processor time that it was given is used up"}
_SOON = 0.005  # seconds

EXHAUSTED = (MemoryError, RecursionError, SystemError)
"""What happens if an input asks for more than there is; the last is what some of Python's own code makes of it."""

UNLOADED = (ImportError, SyntaxError)
"""What happens if a library is missing, or there is no memory to load it: Python's parser then finds wrong syntax."""


class _Stopped(BaseException):
    """A signal came."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _OutputFailed(Exception):
    """The standard output does not take what is written to it."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def conclude(command: Callable[[], int]) -> int:
    """Run a command, from its arguments to the last line that it prints, and return the exit status.

    The command's own, also as SystemExit; 1 if it asks for more than there is, or its output cannot be printed, which
    is then said on the error stream; 128 and the signal's number if it was stopped, or its reader went away (SIGPIPE).
    """
    _fill_closed_streams()
    try:
        with _signals_raise():
            return _status(command)
    except (_Stopped, KeyboardInterrupt) as stop:
        number = stop.number if isinstance(stop, _Stopped) else signal.SIGINT
        complain(f"error: stopped by {signal.Signals(number).name}{_WHY.get(number, '')}")
        return _BY_SIGNAL + number


def say(text: str) -> None:
    """Write to the standard output; `conclude`, in which this must run, deals with an output that takes no more."""
    try:
        _write(sys.stdout, text)
    except OSError as error:
        _discard(sys.stdout)
        raise _OutputFailed(error) from None


def complain(line: str) -> None:
    """Write a line to the error stream; if that takes no more, the exit status must do."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def exhaustion(error: BaseException) -> str:
    """The message for one of EXHAUSTED or UNLOADED."""
    if isinstance(error, UNLOADED):
        return f"a library cannot be loaded; it may be missing, or there is not enough memory: {error.msg}"
    return "the input is nested too deeply" if isinstance(error, RecursionError) else "not enough memory"


def end(status: int) -> NoReturn:
    """End the process with a status of `conclude`: by the signal, if it was one."""
    if status > _BY_SIGNAL:
        signal.signal(status - _BY_SIGNAL, signal.SIG_DFL)
        os.kill(os.getpid(), status - _BY_SIGNAL)
    sys.exit(status)


def _status(command: Callable[[], int]) -> int:
    try:
        try:
            return command()
        except SystemExit as stop:
            return _usage(stop)
    except _OutputFailed as failed:
        if isinstance(failed.error, BrokenPipeError):
            return _BY_SIGNAL + signal.SIGPIPE
        complain(f"error: standard output cannot be written: {failed.error.strerror}")
    except (*EXHAUSTED, *UNLOADED) as error:
        complain(f"error: {exhaustion(error)}")
    return 1


def _usage(stop: SystemExit) -> int:
    """The status with which argparse stops. It has printed its help, or what is wrong, and looked at no error there."""
    status = stop.code if isinstance(stop.code, int) else 0
    if status == 0:
        say("")  # writing nothing fails as well
    try:
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)
    return status


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Signals that stop a process raise _Stopped, if they are not ignored (nohup) and this is the main thread."""
    before, hook = {}, sys.unraisablehook
    try:
        for number in _STOP:
            if signal.getsignal(number) is not signal.SIG_IGN:
                with suppress(ValueError):
                    before[number] = signal.signal(number, _stop)
        sys.unraisablehook = _stop_later
        yield
    finally:
        sys.unraisablehook = hook
        if before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    raise _Stopped(number)


def _stop_later(lost: sys.UnraisableHookArgs) -> None:
    """A signal that comes while a library calls back cannot raise through the library: it comes again, soon."""
    stop = lost.exc_value
    if isinstance(stop, _Stopped):
        signal.signal(signal.SIGALRM, lambda *_: _stop(stop.number, None))
        signal.setitimer(signal.ITIMER_REAL, _SOON)
    else:
        sys.__unraisablehook__(lost)


def _fill_closed_streams() -> None:
    """Open what is closed of the standard streams so that writing fails, and no other file gets its number.

    What cannot be encoded is escaped: the error stream does so anyhow.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # it gets the lowest number that is free
    sys.stdout, sys.stderr = sys.stdout or _stream(1), sys.stderr or _stream(2)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _write(stream: TextIO, text: str) -> None:
    """Write all of it; without a buffer (PYTHONUNBUFFERED) a stream takes a part where a disk is full, in silence."""
    if not isinstance(stream, io.TextIOWrapper):
        stream.write(text)
        stream.flush()
        return
    stream.flush()
    left = memoryview(text.encode(stream.encoding, stream.errors or "strict"))
    while True:
        taken = stream.buffer.write(left)
        if taken is None:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        left = left[taken:]
        if not left:
            break
    stream.flush()


def _stream(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", closefd=False)


def _discard(stream: TextIO) -> None:
    """Let what is left in a stream's buffer go nowhere: the interpreter would try again as it ends, and complain."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
