"""The writer is killed, or its disk fails, at any moment: the output is the old file or the new one, whole."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pvspec.output import replacing, write_file

OLD = b"old" * 1000
NEW = b"new!" * 1000
CALLS = ("open", "fdopen", "mkstemp", "write", "close", "chmod", "replace")


class Faults:
    """Every call that writing makes to the system, counted; the one at `fatal` fails, before or after its work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fatal: int, failure: BaseException, after: bool) -> None:
        self.made: list[str] = []
        self._fatal, self._failure, self._after = fatal, failure, after
        for name in ("chmod", "replace", "fdopen"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        monkeypatch.setattr("tempfile.mkstemp", self._wrapped("mkstemp", __import__("tempfile").mkstemp))

    def _wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*arguments: Any, **named: Any) -> Any:
            with self._fault(name):
                value = call(*arguments, **named)
            return _File(value, self) if name == "fdopen" else value

        return faulty
