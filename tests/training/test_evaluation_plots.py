from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, roc_auc_score

from hemogat.training import evaluation_plots as plots
from hemogat.training.evaluation_record import Answers
from hemogat.training.metrics import measure

LABELS = ("angry", "calm", "sad")


@pytest.fixture(scope="module")
def row() -> Answers:
    """Return answers of two seeds, of which the second is right more often than not."""
    random = np.random.default_rng(0)
    true = random.integers(0, 2, 30)  # nobody is sad
    probabilities = random.dirichlet(np.ones(3), (2, 30)).astype(np.float32)
    probabilities[1] = (probabilities[1] + np.eye(3, dtype=np.float32)[true]) / 2
    return Answers(
        head="full",
        graph="inductive",
        inputs="audio",
        true=true,
        probabilities=probabilities,
        features=random.standard_normal((30, 4)).astype(np.float32),
        layer_cosine=np.zeros((2, 0)),
    )


@pytest.mark.parametrize("across", [1, 3])
@pytest.mark.parametrize(
    "draw",
    [
        plots.confusion_picture,
        plots.roc_picture,
        plots.precision_recall_picture,
        plots.reliability_picture,
        plots.tsne_picture,
    ],
)
def test_titles_are_inside_the_picture(
    draw: Callable[..., Figure], across: int, row: Answers, tmp_path: Path
) -> None:
    figure = draw([replace(row, inputs="both")] * across, 1, LABELS)
    title = "Precision and recall: WWW-meld-text-2, test split, control without graph, seed 1234"
    plots.save(figure, title, tmp_path / "picture.png")
    renderer = FigureCanvasAgg(figure).get_renderer()
    suptitle = figure._suptitle  # type: ignore[attr-defined]
    assert suptitle.get_text().replace("\n", " ") == title
    extents = [
        text.get_window_extent(renderer) for text in (suptitle, *(a.title for a in figure.axes))
    ]
    for extent in extents:
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.width
        assert extent.y1 <= figure.bbox.height
    below = [extent.y1 for extent in extents[1:]]
    assert max(below) <= extents[0].y0
    first_line = sorted(extents[1 : across + 1], key=lambda extent: extent.x0)
    assert all(a.x1 <= b.x0 for a, b in pairwise(first_line))


def legend(axis: Axes) -> list[str]:
    found = axis.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def assert_axes_are_labelled(figure: Figure) -> None:
    for axis in figure.axes:
        assert axis.get_ylabel()
    assert figure.axes[-1].get_xlabel()


def test_the_confusion_matrix_in_counts_and_shares(row: Answers) -> None:
    figure = plots.confusion_picture([row, row], 1, LABELS)
    assert len(figure.axes) == 4
    counts = confusion_matrix(row.true, row.probabilities[1].argmax(axis=1), labels=[0, 1, 2])
    above, below = ([t.get_text() for t in figure.axes[place].texts] for place in (0, 2))
    assert above == [str(n) for n in counts.ravel()]
    assert below[0] == f"{100 * counts[0, 0] / counts[0].sum():.0f}"
    assert below[6:] == ["0", "0", "0"]  # a label that does not occur
    assert_axes_are_labelled(figure)


def test_curves_per_label_and_a_note_for_one_that_does_not_occur(row: Answers) -> None:
    figure = plots.roc_picture([row], 1, LABELS)
    auc = roc_auc_score(row.true == 0, row.probabilities[1][:, 0])
    assert legend(figure.axes[0])[0] == f"angry: AUC {auc:.2f}"
    assert legend(figure.axes[0])[2] == "sad: in none"
    styles = {str(line.get_linestyle()) for line in figure.axes[0].lines[1:3]}
    assert len(styles) == 2  # told apart without colour
    assert_axes_are_labelled(figure)
    figure = plots.precision_recall_picture([row], 1, LABELS)
    assert legend(figure.axes[0])[2] == "sad: in none"
    assert_axes_are_labelled(figure)


def test_the_reliability_picture_shows_the_measured_error(row: Answers) -> None:
    figure = plots.reliability_picture([row], 1, LABELS)
    ece = measure(row.true, row.probabilities[1]).ece
    assert figure.axes[0].get_title() == f"audio only, ECE {100 * ece:.1f} %"
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == 30
    assert_axes_are_labelled(figure)


def test_the_tsne_map_is_the_same_every_time(row: Answers) -> None:
    assert plots.has_tsne(row)
    figure, again = (plots.tsne_picture([row], 1, LABELS) for _ in range(2))
    for points, others in zip(figure.axes[0].collections, again.axes[0].collections, strict=True):
        np.testing.assert_array_equal(points.get_offsets(), others.get_offsets())
    assert legend(figure.axes[0]) == list(LABELS)
    assert_axes_are_labelled(figure)
