"""Pictures of an evaluation, readable in greyscale: one panel per kind of input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.metrics import (
    auc,
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)
from threadpoolctl import threadpool_limits

from hemogat.training.evaluation_record import Answers
from hemogat.training.metrics import ECE_BINS, expected_calibration_error, reliability

MIN_TSNE_UTTERANCES = 10
_MAX_TSNE_UTTERANCES = 1000  # t-SNE of more takes minutes, and shows no more
_DOTS_PER_INCH = 120
_PANEL_IN = 4.2  # width and height of a panel
_TITLE_LETTERS_PER_IN = 9  # of the title's size; wider ones than on average fit, too
# Lines and markers tell the labels apart where colours do not.
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
_MARKERS = "os^DvP*X<>"
_INPUTS = {"both": "audio and text", "audio": "audio only", "text": "text only"}


def confusion_picture(rows: Sequence[Answers], best: int, labels: Sequence[str]) -> Figure:
    """Draw each row's confusion matrix: counts above, shares of the true label below."""
    figure, axes = _panels(len(rows), down=2)
    for row, (above, below) in zip(rows, axes.T, strict=True):
        predicted = row.probabilities[best].argmax(axis=1)
        counts = confusion_matrix(row.true, predicted, labels=range(len(labels)))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        _matrix(above, shares, [[str(n) for n in line] for line in counts], labels)
        _matrix(below, shares, [[f"{100 * s:.0f}" for s in line] for line in shares], labels)
        above.set_title(f"{_asked(row)}: utterances")
        below.set_title(f"{_asked(row)}: % of the true label")
    return figure


def roc_picture(rows: Sequence[Answers], best: int, labels: Sequence[str]) -> Figure:
    """Draw each row's ROC curve per label, that label against the rest."""

    def curve(hit: NDArray[np.bool_], score: NDArray[np.float32]) -> _Curve:
        false_rate, true_rate, _ = roc_curve(hit, score)
        return false_rate, true_rate, f"AUC {auc(false_rate, true_rate):.2f}"

    figure, axes = _panels(len(rows))
    for row, axis in zip(rows, axes[0], strict=True):
        axis.plot((0, 1), (0, 1), color="0.7", linewidth=1)
        _curves(axis, row, best, labels, curve)
        _rates(axis, "false positive rate", "true positive rate (recall)")
    return figure


def precision_recall_picture(rows: Sequence[Answers], best: int, labels: Sequence[str]) -> Figure:
    """Draw each row's precision over recall per label, that label against the rest."""

    def curve(hit: NDArray[np.bool_], score: NDArray[np.float32]) -> _Curve:
        precision, recall, _ = precision_recall_curve(hit, score)
        return recall, precision, f"AP {average_precision_score(hit, score):.2f}"

    figure, axes = _panels(len(rows))
    for row, axis in zip(rows, axes[0], strict=True):
        _curves(axis, row, best, labels, curve)
        _rates(axis, "recall", "precision")
    return figure


def reliability_picture(rows: Sequence[Answers], best: int, labels: Sequence[str]) -> Figure:
    """Draw each row's accuracy over confidence, and how many utterances each bin holds."""
    figure, axes = _panels(len(rows), down=2, heights=(3, 1))
    for row, (above, below) in zip(rows, axes.T, strict=True):
        probabilities = row.probabilities[best]
        found = reliability(row.true, probabilities)
        centres, width = (found.edges[:-1] + found.edges[1:]) / 2, 1 / ECE_BINS
        above.bar(centres, found.accuracy, width, color="0.75", edgecolor="0.3", label="accuracy")
        above.plot(
            found.confidence, found.accuracy, "ko", markersize=4, label="mean confidence of the bin"
        )
        above.plot((0, 1), (0, 1), "k--", linewidth=1, label="calibrated")
        ece = expected_calibration_error(row.true, probabilities)
        above.set_title(f"{_asked(row)}, ECE {100 * ece:.1f} %")
        _rates(above, "", "accuracy")
        below.bar(centres, found.count, width, color="0.75", edgecolor="0.3")
        below.set(xlim=above.get_xlim(), xlabel="confidence", ylabel="utterances")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8)
    return figure


def tsne_picture(rows: Sequence[Answers], best: int, labels: Sequence[str]) -> Figure:
    """Draw the t-SNE map of each row's features, coloured by the true label.

    Of more than 1,000 utterances a seeded sample is drawn. Rows with fewer than
    ``MIN_TSNE_UTTERANCES`` different ones cannot be drawn (:func:`has_tsne`).
    """
    figure, axes = _panels(len(rows))
    for row, axis in zip(rows, axes[0], strict=True):
        chosen = _sample(len(row.true))
        features = row.features[chosen]
        # Its steps are so short that several threads would mostly wait for each other.
        with threadpool_limits(1):
            spread = TSNE(
                init="pca", perplexity=min(30.0, (len(chosen) - 1) / 3), random_state=0
            ).fit_transform(features)
        for number, label in enumerate(labels):
            points = spread[row.true[chosen] == number]
            look = {"color": _colour(number, len(labels)), "marker": _marker(number)}
            axis.scatter(*points.T, s=16, alpha=0.75, linewidths=0, label=label, **look)
        axis.set(xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)", xticks=[], yticks=[])
        axis.set_title(f"{_asked(row)}, {len(chosen)} utterances")
        axis.legend(fontsize=8)
    return figure


def has_tsne(row: Answers) -> bool:
    """Say whether a row has enough different utterances for a t-SNE map."""
    return len(np.unique(row.features, axis=0)) >= MIN_TSNE_UTTERANCES


def save(figure: Figure, title: str, path: Path) -> None:
    """Write ``figure`` under ``title``, in as many lines as it needs, as a PNG file."""
    letters = int(figure.get_figwidth() * _TITLE_LETTERS_PER_IN)
    figure.suptitle("\n".join(wrap(title, letters)))
    figure.savefig(path, dpi=_DOTS_PER_INCH)


_Curve = tuple[NDArray[np.float64], NDArray[np.float64], str]  # x, y and what sums it up


def _panels(
    across: int, down: int = 1, heights: Sequence[float] | None = None
) -> tuple[Figure, NDArray[np.object_]]:
    high = down if heights is None else sum(heights) / max(heights)
    # A Figure of its own, not pyplot's: nothing global is set, and no window system is asked for.
    figure = Figure((_PANEL_IN * across + 0.4, _PANEL_IN * high + 0.5), layout="constrained")
    ratios = None if heights is None else {"height_ratios": heights}
    return figure, figure.subplots(down, across, squeeze=False, gridspec_kw=ratios)


def _matrix(
    axis: Axes, shares: NDArray[np.float64], cells: list[list[str]], labels: Sequence[str]
) -> None:
    axis.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    for line, texts in enumerate(cells):
        for column, text in enumerate(texts):
            dark = shares[line, column] > 0.5
            axis.text(column, line, text, ha="center", va="center", color="w" if dark else "k")
    places = range(len(labels))
    axis.set_xticks(places, labels, rotation=45, ha="right")
    axis.set_yticks(places, labels)
    axis.set(xlabel="predicted label", ylabel="true label")


def _curves(
    axis: Axes,
    row: Answers,
    best: int,
    labels: Sequence[str],
    curve: Callable[[NDArray[np.bool_], NDArray[np.float32]], _Curve],
) -> None:
    for number, label in enumerate(labels):
        hit = row.true == number
        if not hit.any() or hit.all():  # neither curve exists for what is always or never true
            axis.plot([], [], " ", label=f"{label}: in {'all' if hit.all() else 'none'}")
            continue
        x, y, summary = curve(hit, row.probabilities[best][:, number])
        axis.plot(
            x,
            y,
            color=_colour(number, len(labels)),
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=1.6,
            label=f"{label}: {summary}",
        )
    axis.set_title(_asked(row))
    axis.legend(fontsize=8)


def _rates(axis: Axes, x: str, y: str) -> None:
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)


def _asked(row: Answers) -> str:
    return _INPUTS[row.inputs]


def _colour(number: int, labels: int) -> tuple[float, float, float, float]:
    """Return a colour whose brightness differs from the other labels', too."""
    return colormaps["viridis"](0.85 * number / max(labels - 1, 1))


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _sample(count: int) -> NDArray[np.int64]:
    """Return which of ``count`` utterances are drawn, always the same ones."""
    if count <= _MAX_TSNE_UTTERANCES:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _MAX_TSNE_UTTERANCES, replace=False))
