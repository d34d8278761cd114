from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.figure import Figure as Drawing

from hemogat.benchmarks.picture_axes import label_points, log_axis, show_range


@pytest.mark.parametrize("log", [False, True])
def test_labels_of_points_that_lie_close_do_not_collide(log: bool) -> None:
    points = [(2.7 + n / 100, 500.0 + 9 * n, f"{2**n} at a time") for n in range(6)]
    drawing = Drawing(figsize=(7.5, 4.2), layout="constrained")
    axis = drawing.add_subplot()
    axis.plot([x for x, _, _ in points], [y for _, y, _ in points], "o")
    if log:
        log_axis(axis, "y")
    show_range(axis, [x for x, _, _ in points])
    boxes = label_points(drawing, axis, points)
    assert len(boxes) == len(points)  # each found room
    for one, other in combinations(boxes, 2):
        across = min(one[2], other[2]) - max(one[0], other[0])
        up = min(one[3], other[3]) - max(one[1], other[1])
        assert across <= 0 or up <= 0


def test_numbers_on_a_logarithmic_axis_are_plain() -> None:
    axis = Drawing().add_subplot()
    axis.plot([1, 2], [20.0, 3000.0])
    log_axis(axis, "y")
    axis.figure.draw_without_rendering()
    told = {label.get_text() for label in axis.get_yticklabels()}
    assert {"20", "50", "100", "200", "500", "1,000", "2,000"} <= told


def test_an_axis_starts_at_nothing_unless_all_lie_far_from_it() -> None:
    for values, low in (((2.0, 5.0), 0.0), ((2.6, 2.9), 2.5)):
        axis = Drawing().add_subplot()
        axis.plot(values, values)
        show_range(axis, values)
        assert axis.get_xlim()[0] == pytest.approx(low, abs=0.1)
