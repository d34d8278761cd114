from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

from hemogat.logs import show_information


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Return the package's logger, and put back what was set."""
    logger = logging.getLogger("hemogat")
    level, handlers = logger.level, list(logger.handlers)
    yield logger
    logger.setLevel(level)
    logger.handlers[:] = handlers


def test_information_is_shown_once_and_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        show_information()
    logging.getLogger("hemogat.runtime.any").info("recall %.2f", 0.99)
    logging.getLogger("hemogat.runtime.any").debug("steps")
    logging.getLogger("elsewhere").info("nothing of ours")
    captured = capsys.readouterr()
    assert captured.err == "recall 0.99\n"
    assert not captured.out


def test_an_error_takes_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    show_information()
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("hemogat.any").exception("given\nup")
    assert capsys.readouterr().err == "given up (ValueError: first second)\n"


def test_that_nobody_reads_it_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    show_information()
    logging.getLogger("hemogat.any").info("recall")
