from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hemogat.serving.triton_engine import run_requests, threads_per_instance


class Doubler:
    """A session that counts its runs and refuses negative input, as a whole batch."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.runs += 1
        if (feeds["x"] < 0).any():
            raise RuntimeError("negative")
        return {"double": feeds["x"] * 2, "sum": feeds["x"].sum(axis=1) + feeds["y"]}


def request(rows: list[int]) -> dict[str, NDArray[Any]]:
    x = np.array(rows, dtype=np.float32)[:, None] + np.zeros(3, np.float32)
    return {"x": x, "y": np.array(rows, dtype=np.float32)}


rows = st.lists(st.integers(0, 100), min_size=1, max_size=5)


@given(st.lists(rows, min_size=1, max_size=6))
def test_each_request_gets_its_own_rows(batch: list[list[int]]) -> None:
    session = Doubler()
    results = run_requests(session, [request(rows) for rows in batch])
    assert session.runs == 1
    for rows_in, result in zip(batch, results, strict=True):
        assert not isinstance(result, Exception)
        alone = Doubler().run(request(rows_in))
        assert result.keys() == alone.keys()
        for name in alone:
            np.testing.assert_array_equal(result[name], alone[name])


def test_a_request_that_fails_fails_alone() -> None:
    good, bad, other = run_requests(Doubler(), [request([1, 2]), request([-1]), request([3])])
    assert isinstance(bad, RuntimeError)
    assert not isinstance(good, Exception)
    assert not isinstance(other, Exception)
    np.testing.assert_array_equal(good["double"][:, 0], [2, 4])
    np.testing.assert_array_equal(other["double"][:, 0], [6])


def test_one_request_that_fails_is_run_once() -> None:
    session = Doubler()
    [result] = run_requests(session, [request([-1])])
    assert isinstance(result, RuntimeError)
    assert session.runs == 1


@pytest.mark.parametrize("instances", [1, 2, 1000])
def test_every_instance_gets_a_thread(instances: int) -> None:
    threads = threads_per_instance(instances)
    assert 1 <= threads <= threads_per_instance(1)
