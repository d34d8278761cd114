"""What pictures share: logarithmic axes that can be read, and labels that do not collide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import cos, pi, sin
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

MARKERS = "osD^vPX*"
_FONT_POINTS = 7
_CHARACTER, _LINE = 0.62, 1.25  # of the font's size
_DISTANCES = (9.0, 17.0, 27.0, 39.0, 53.0, 70.0)  # points
_DIRECTIONS = tuple(n * pi / 4 for n in range(8))
_NEAR = 10.0  # beyond it a line leads to the label


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: _Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


def log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5 of each power of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis: Axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def show_range(axis: Axes, values: Sequence[float]) -> None:
    """Start the x axis at 0, or near the smallest value where the values lie close together."""
    axis.margins(0.15, 0.2)
    if min(values) < max(values) / 2:
        axis.set_xlim(left=0)


def label_points(
    drawing: Drawing, axis: Axes, points: Sequence[tuple[float, float, str]]
) -> list[tuple[float, float, float, float]]:
    """Write a label beside each point (x, y, label), where none covers another or a point.

    Limits must stand. A label that finds no room near is led to by a line, and left out where it
    finds none at all: call with few points.

    Returns:
        The labels' boxes, in points: left, bottom, right, top.
    """
    drawing.draw_without_rendering()  # the layout decides where points are
    scale = 72 / drawing.dpi
    places = [scale * axis.transData.transform((x, y)) for x, y, _ in points]
    left, bottom, right_edge, top = (scale * edge for edge in axis.bbox.extents)
    area = _Box(left, bottom, right_edge, top)
    taken = [_Box(x - 4, y - 4, x + 4, y + 4) for x, y in places]
    boxes = []
    for (x, y), (at_x, at_y, text) in zip(places, points, strict=True):
        width, height = _CHARACTER * _FONT_POINTS * len(text), _LINE * _FONT_POINTS
        for distance, direction in product(_DISTANCES, _DIRECTIONS):
            # From the label's middle: sideways it must clear half its width too.
            right = cos(direction) * (distance + width / 2)
            up = sin(direction) * distance
            box = _Box(
                x + right - width / 2,
                y + up - height / 2,
                x + right + width / 2,
                y + up + height / 2,
            )
            if box.within(area) and not any(map(box.overlaps, taken)):
                _write(axis, text, (at_x, at_y), (right, up), far=distance > _NEAR)
                taken.append(box)
                boxes.append((box.left, box.bottom, box.right, box.top))
                break
    return boxes


def _write(
    axis: Axes, text: str, place: tuple[float, float], by: tuple[float, float], *, far: bool
) -> None:
    line = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    axis.annotate(
        text,
        place,
        by,
        textcoords="offset points",
        ha="center",
        va="center",
        fontsize=_FONT_POINTS,
        arrowprops=line if far else None,
    )
