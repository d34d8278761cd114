"""The graph step written out in plain Python: what every implementation of it must give."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume
from numpy.typing import NDArray

Slots = list[tuple[int, float]]
MASKED = (-1, 0.0)
_CLEARLY_APART = 1e-5  # float32 cosines of unit vectors are good to about 1e-6


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    norms = float(np.sqrt((a * a).sum()) * np.sqrt((b * b).sum()))
    return float((a * b).sum()) / norms if norms else 0.0


def nearest(
    query: NDArray[np.float64], bank: NDArray[np.float64], rows: list[int], k: int
) -> Slots:
    """Return the k of ``rows`` most similar to ``query``, best first, ties to the lower row."""
    found = sorted((-cosine(query, bank[row]), row) for row in rows)
    return [(row, -negative) for negative, row in found[:k]]


def nearest_of_drawn(
    query: NDArray[np.float64], bank: NDArray[np.float64], rows: list[int], k: int
) -> Slots:
    """Return :func:`nearest`; throw draws away in which rounding would decide.

    Different rows that are almost equally similar may stand in either order. Equal rows stay:
    their order is defined.
    """
    for (_, one), (_, other) in pairwise(nearest(query, bank, rows, len(rows))):
        assume(one == other or abs(one - other) > _CLEARLY_APART)
    return nearest(query, bank, rows, k)


def union(audio: Slots, text: Slots, audio_present: bool, text_present: bool) -> Slots:
    """Audio slots first; a row counts once, in its audio slot (Eq. 7)."""
    slots = [slot if audio_present else MASKED for slot in audio]
    by_audio = {row for row, _ in slots}
    return slots + [slot if text_present and slot[0] not in by_audio else MASKED for slot in text]


@pytest.fixture(scope="session")
def plain_nearest() -> Callable[..., Slots]:
    """Return the plain top-k search."""
    return nearest


@pytest.fixture(scope="session")
def plain_nearest_of_drawn() -> Callable[..., Slots]:
    """Return the plain top-k search for hypothesis' draws."""
    return nearest_of_drawn


@pytest.fixture(scope="session")
def plain_union() -> Callable[..., Slots]:
    """Return the plain union of both modalities' neighbours."""
    return union
