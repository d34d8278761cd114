from __future__ import annotations

import numpy as np
import pytest

from hemogat.training.metrics import measure


def test_every_number_by_hand() -> None:
    true = [0, 0, 0, 0, 1, 1, 2]
    predicted = np.array([0, 0, 1, 2, 1, 0, 2])
    found = measure(true, predicted, labels=3)
    assert found.utterances == 7
    assert found.accuracy == pytest.approx(4 / 7)
    assert found.unweighted_accuracy == pytest.approx((2 / 4 + 1 / 2 + 1 / 1) / 3)
    # Precisions 2/3, 1/2, 1/2 and recalls 1/2, 1/2, 1: F1 4/7, 1/2, 2/3.
    assert found.weighted_f1 == pytest.approx((4 * 4 / 7 + 2 * 1 / 2 + 1 * 2 / 3) / 7)
    assert found.macro_f1 == pytest.approx((4 / 7 + 1 / 2 + 2 / 3) / 3)
    assert found.confusion == ((2, 1, 1), (1, 1, 0), (0, 0, 1))


def test_accuracy_is_weighted_and_mean_recall_is_not() -> None:
    # The authors' code has the two names swapped.
    found = measure([0] * 9 + [1], np.zeros(10, np.int64), labels=2)
    assert found.accuracy == pytest.approx(0.9)
    assert found.unweighted_accuracy == pytest.approx(0.5)


def test_a_label_that_does_not_occur_counts_only_where_it_was_predicted() -> None:
    found = measure([0, 0, 1, 1], np.array([0, 3, 1, 1]), labels=4)
    assert found.accuracy == pytest.approx(0.75)
    assert found.unweighted_accuracy == pytest.approx((0.5 + 1) / 2)
    assert found.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert found.confusion == ((1, 0, 0, 1), (0, 2, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))


def test_all_right_and_all_wrong() -> None:
    right = measure([0, 1, 2], np.array([0, 1, 2]), labels=3)
    wrong = measure([0, 1, 2], np.array([1, 2, 0]), labels=3)
    for name in ("accuracy", "unweighted_accuracy", "weighted_f1", "macro_f1"):
        assert getattr(right, name) == 1
        assert getattr(wrong, name) == 0
