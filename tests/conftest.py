"""Options and fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

hypothesis.settings.register_profile("pvspec", deadline=None)  # timings live in benchmarks
hypothesis.settings.load_profile("pvspec")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write expected output anew; then read the diff")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with an expected file, or write that file if the tests are blessed."""

    def compare(expected: Path, text: str) -> None:
        if request.config.getoption("--bless"):
            expected.write_text(text, encoding="utf-8")
        assert expected.exists(), f"{expected} is missing; run pytest --bless and read what it writes"
        assert text == expected.read_text(encoding="utf-8")

    return compare
