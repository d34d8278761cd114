from __future__ import annotations

import logging
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
