"""Reports as one HTML page that needs nothing else: no script, no file, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from hemogat.benchmarks.figure_tables import FigureTable, figure_tables
from hemogat.benchmarks.report import BenchReport, flat_settings, told
from hemogat.benchmarks.summary_table import PEERS, Table, summary_table
from hemogat.files import write_atomic
from hemogat.optional import require

_TEMPLATE = Path(__file__).with_name("report.html.jinja")
_EXTRA = "train"
# What a reader asks first: against whom, how fast, how accurate, at what cost, under which load.
_ORDER = (PEERS, "engines", "side-by-side", "latency", "gnn", "cost", "load")


@dataclass(frozen=True)
class _Picture:
    title: str
    svg: str


@dataclass(frozen=True)
class _Section:
    title: str
    report: BenchReport
    notes: tuple[str, ...]
    software: str
    pictures: list[_Picture]
    tables: list[FigureTable]
    settings: dict[str, str]


def render_page(
    reports: Sequence[BenchReport],
    title: str | None = None,
    flips: Mapping[str, str] | None = None,
) -> str:
    """Return the page: a summary, and of each report its conditions, pictures, tables and settings.

    Args:
        reports: at least one; on the page they stand by kind.
        title: default: that of the first report.
        flips: for the summary, by engine and precision: labels that differ from torch's, in words.

    Raises:
        IncompleteError: what draws and renders is not installed.
    """
    require("matplotlib", extra=_EXTRA)
    jinja = require("jinja2", extra=_EXTRA)
    environment = jinja.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja.StrictUndefined
    )
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    reports = sorted(reports, key=_place)
    titles = distinct_titles(reports)
    sections = [
        _section(report, told_apart, f"report-{n}")
        for n, (report, told_apart) in enumerate(zip(reports, titles, strict=True), 1)
    ]
    page: str = template.render(
        title=title or reports[0].title,
        sections=sections,
        machines=list(dict.fromkeys(report.environment.lines()[0] for report in reports)),
        summary=_summary(reports, flips or {}),
        minutes=_minutes(reports),
    )
    return page + "\n"


def write_page(
    reports: Sequence[BenchReport],
    path: Path,
    title: str | None = None,
    flips: Mapping[str, str] | None = None,
) -> None:
    """Write :func:`render_page`'s page.

    Raises:
        IncompleteError: what draws and renders is not installed.
    """
    write_atomic(path, render_page(reports, title, flips))


def _place(report: BenchReport) -> int:
    return _ORDER.index(report.kind) if report.kind in _ORDER else len(_ORDER)


def _minutes(reports: Sequence[BenchReport]) -> float | None:
    """Return how long all took together; None for a single one, or where a report does not tell."""
    took_s = [report.took_s for report in reports if report.took_s is not None]
    return sum(took_s) / 60 if len(took_s) == len(reports) > 1 else None


def _summary(reports: Sequence[BenchReport], flips: Mapping[str, str]) -> Table | None:
    """Return the first table of the first report of peers; a page of one report needs none."""
    peers = [report for report in reports if report.kind == PEERS]
    return summary_table(peers[0], flips) if peers and len(reports) > 1 else None


def distinct_titles(reports: Sequence[BenchReport]) -> list[str]:
    """Return the reports' titles; of reports that share one, with what tells them apart.

    That is as few of their settings as do, else their number.
    """
    titles = [report.title for report in reports]
    for shared in {title for title in titles if titles.count(title) > 1}:
        places = [n for n, title in enumerate(titles) if title == shared]
        for place, apart in zip(places, _apart([reports[n] for n in places]), strict=True):
            titles[place] = f"{shared} ({apart})"
    return titles


def _apart(reports: Sequence[BenchReport]) -> list[str]:
    settings = [flat_settings(report.settings) for report in reports]
    values = {
        name: [told(each.get(name)) for each in settings]
        for name in dict.fromkeys(name for each in settings for name in each)
    }
    differing = [name for name, found in values.items() if len(set(found)) > 1]

    def told_by(names: Iterable[str]) -> list[str]:
        each = [[f"{name.replace('_', ' ')} {value}" for value in values[name]] for name in names]
        return [", ".join(parts) for parts in zip(*each, strict=True)]

    for size in range(1, len(reports)):  # so many settings tell so many and one apart, if any do
        ways = [told_by(names) for names in combinations(differing, size)]
        if enough := [found for found in ways if len(set(found)) == len(reports)]:
            return min(enough, key=lambda found: sum(map(len, found)))
    return [f"{n} of {len(reports)}" for n in range(1, len(reports) + 1)]


def _section(report: BenchReport, title: str, name: str) -> _Section:
    from markupsafe import Markup

    from hemogat.benchmarks.inline_svg import inline_svg
    from hemogat.benchmarks.pictures import draw_pictures

    pictures = []
    for number, picture in enumerate(draw_pictures(report.figures), 1):
        svg = inline_svg(picture.drawing, f"{name}-picture-{number}", picture.title)
        pictures.append(_Picture(picture.title, Markup(svg)))
    settings = {name: told(value) for name, value in flat_settings(report.settings).items()}
    return _Section(
        title,
        report,
        report.notes,
        report.environment.lines()[1],
        pictures,
        figure_tables(report.figures),
        settings,
    )
