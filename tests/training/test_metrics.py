from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
)

from hemogat.training.metrics import ECE_BINS, FIGURES, measure, reliability, weighted_f1


def sure(predicted: list[int], labels: int) -> NDArray[np.float32]:
    """Return probabilities [N, labels] of a model that is certain of ``predicted``."""
    return np.eye(labels, dtype=np.float32)[predicted]


def test_every_number_by_hand() -> None:
    found = measure([0, 0, 0, 0, 1, 1, 2], sure([0, 0, 1, 2, 1, 0, 2], 3))
    assert found.utterances == 7
    assert found.accuracy == found.weighted_recall == pytest.approx(4 / 7)
    assert found.unweighted_accuracy == pytest.approx((2 / 4 + 1 / 2 + 1 / 1) / 3)
    assert found.macro_recall == found.unweighted_accuracy
    # Precisions 2/3, 1/2, 1/2 and recalls 1/2, 1/2, 1: F1 4/7, 1/2, 2/3.
    assert found.weighted_f1 == pytest.approx((4 * 4 / 7 + 2 * 1 / 2 + 1 * 2 / 3) / 7)
    assert found.macro_f1 == pytest.approx((4 / 7 + 1 / 2 + 2 / 3) / 3)
    assert found.weighted_precision == pytest.approx((4 * 2 / 3 + 2 * 1 / 2 + 1 * 1 / 2) / 7)
    assert found.macro_precision == pytest.approx((2 / 3 + 1 / 2 + 1 / 2) / 3)
    assert [c.precision for c in found.per_class] == pytest.approx([2 / 3, 1 / 2, 1 / 2])
    assert [c.recall for c in found.per_class] == pytest.approx([1 / 2, 1 / 2, 1])
    assert [c.f1 for c in found.per_class] == pytest.approx([4 / 7, 1 / 2, 2 / 3])
    assert [c.support for c in found.per_class] == [4, 2, 1]
    assert found.confusion == ((2, 1, 1), (1, 1, 0), (0, 0, 1))
    assert found.ece == pytest.approx(3 / 7)  # certain every time, right four times of seven


def test_every_figure_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    true = random.integers(0, 5, 300)
    scores = random.dirichlet(np.ones(5), 300).astype(np.float32)
    scores[:150] = 0.5 * (scores[:150] + sure(true[:150].tolist(), 5))
    predicted = scores.argmax(axis=1)
    found = measure(true, scores)
    expected = {
        "accuracy": accuracy_score(true, predicted),
        "unweighted_accuracy": balanced_accuracy_score(true, predicted),
        "ece": expected_gap(true, scores),
    }
    for average in ("weighted", "macro"):
        expected[f"{average}_f1"] = f1_score(true, predicted, average=average)
        expected[f"{average}_precision"] = precision_score(true, predicted, average=average)
        expected[f"{average}_recall"] = recall_score(true, predicted, average=average)
    assert {name: found.figure(name) for name in FIGURES} == pytest.approx(expected)
    assert weighted_f1(true, predicted) == found.weighted_f1


def expected_gap(true: NDArray[np.int64], scores: NDArray[np.float32]) -> float:
    """Return the calibration error from scikit-learn's curve, whose empty bins are left out."""
    right, confidence = scores.argmax(axis=1) == true, scores.max(axis=1)
    share_right, mean_confidence = calibration_curve(right, confidence, n_bins=ECE_BINS)
    counts = np.histogram(confidence, np.linspace(0, 1, ECE_BINS + 1))[0]
    weights = counts[counts > 0] / len(true)
    return float((weights * np.abs(share_right - mean_confidence)).sum())


def test_a_bin_holds_its_upper_edge() -> None:
    # Bins of 0.25: 0.5 is the second one's upper edge, 0.625 and 0.75 lie in the third.
    scores = np.array([[0.5, 0.5], [0.625, 0.375], [0.25, 0.75], [0.0, 1.0]], np.float32)
    found = reliability(np.array([0, 1, 1, 1]), scores, bins=4)
    assert found.count.tolist() == [0, 1, 2, 1]
    assert found.confidence[1:].tolist() == [0.5, 0.6875, 1.0]
    assert found.accuracy[1:].tolist() == [1.0, 0.5, 1.0]
    assert np.isnan([found.confidence[0], found.accuracy[0]]).all()


def test_accuracy_is_weighted_and_mean_recall_is_not() -> None:
    # The authors' code has the two names swapped.
    found = measure([0] * 9 + [1], sure([0] * 10, 2))
    assert found.accuracy == pytest.approx(0.9)
    assert found.unweighted_accuracy == pytest.approx(0.5)


def test_a_label_that_does_not_occur_counts_only_where_it_was_predicted() -> None:
    found = measure([0, 0, 1, 1], sure([0, 3, 1, 1], 4))
    assert found.accuracy == pytest.approx(0.75)
    assert found.unweighted_accuracy == pytest.approx((0.5 + 1) / 2)
    assert found.macro_f1 == pytest.approx((2 / 3 + 1) / 2)
    assert found.confusion == ((1, 0, 0, 1), (0, 2, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    assert [c.support for c in found.per_class] == [2, 2, 0, 0]


def test_all_right_and_all_wrong() -> None:
    right = measure([0, 1, 2], sure([0, 1, 2], 3))
    wrong = measure([0, 1, 2], sure([1, 2, 0], 3))
    for name in FIGURES:
        assert right.figure(name) == (name != "ece")
        assert wrong.figure(name) == (name == "ece")
