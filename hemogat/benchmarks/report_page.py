"""Reports as one HTML page that needs nothing else: no script, no file, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hemogat.benchmarks.figure_tables import FigureTable, figure_tables
from hemogat.benchmarks.report import BenchReport, flat_settings, told
from hemogat.files import write_atomic
from hemogat.optional import require

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_EXTRA = "train"


@dataclass(frozen=True)
class _Picture:
    title: str
    svg: str


@dataclass(frozen=True)
class _Section:
    report: BenchReport
    conditions: list[str]
    pictures: list[_Picture]
    tables: list[FigureTable]
    settings: dict[str, str]


def render_page(reports: Sequence[BenchReport], title: str | None = None) -> str:
    """Return the page: of each report its conditions, pictures, tables and settings.

    Args:
        reports: at least one.
        title: default: that of the first report.

    Raises:
        IncompleteError: what draws and renders is not installed.
    """
    require("matplotlib", extra=_EXTRA)
    jinja = require("jinja2", extra=_EXTRA)
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    sections = [_section(report, f"report-{n}") for n, report in enumerate(reports, 1)]
    page: str = template.render(title=title or reports[0].title, sections=sections)
    return page + "\n"


def write_page(reports: Sequence[BenchReport], path: Path, title: str | None = None) -> None:
    """Write :func:`render_page`'s page.

    Raises:
        IncompleteError: what draws and renders is not installed.
    """
    write_atomic(path, render_page(reports, title))


def _section(report: BenchReport, name: str) -> _Section:
    from markupsafe import Markup

    from hemogat.benchmarks.inline_svg import inline_svg
    from hemogat.benchmarks.pictures import draw_pictures

    pictures = []
    for number, picture in enumerate(draw_pictures(report.figures), 1):
        svg = inline_svg(picture.drawing, f"{name}-picture-{number}", picture.title)
        pictures.append(_Picture(picture.title, Markup(svg)))
    conditions = report.conditions()
    settings = {name: told(value) for name, value in flat_settings(report.settings).items()}
    return _Section(
        report,
        conditions[:-1] if report.noisy else conditions,  # a warning stands by itself
        pictures,
        figure_tables(report.figures),
        settings,
    )
