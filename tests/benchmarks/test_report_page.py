from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.colors
import matplotlib.image
import pytest

from hemogat.benchmarks import report_page
from hemogat.benchmarks.figures import Better, Figure, Unit
from hemogat.benchmarks.noise import RunWatch
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.report_page import distinct_titles, render_page, write_page
from hemogat.errors import IncompleteError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "br", "link", "img", "hr"}


def figure(
    target: str, metric: str, unit: Unit, value: float, better: Better = "lower", **axes: str | int
) -> Figure:
    low, high = (0.9 * value, 1.1 * value) if unit in ("ms", "%") else (None, None)
    return Figure(
        target=target, metric=metric, unit=unit, value=value, low=low, high=high,
        better=better, axes=axes,
    )  # fmt: skip


def latency_figures() -> list[Figure]:
    """What a latency report, one of serving and one of cost have, in one."""
    stages = {"audio_encoder": 90.0, "text_encoder": 35.0, "fusion": 4.0, "end_to_end": 130.0}
    found = [figure("onnx-fp32", "p50", "ms", ms, component=stage) for stage, ms in stages.items()]
    for concurrency in (1, 4):
        axes: dict[str, str | int] = {"load": "closed loop", "concurrency": concurrency}
        found.append(figure("Triton", "throughput", "1/s", 10.0 * concurrency, "higher", **axes))
        found += [figure("Triton", q, "ms", 20.0 * concurrency, **axes) for q in ("p50", "p95")]
    for gnn, percent in (("gat", 71.0), ("gcn", 70.0)):
        found.append(figure("model", "accuracy", "%", percent, "higher", gnn=gnn))
        found.append(figure("model", "macs", "MAC", 2e10, gnn=gnn))
    found.append(figure("machine", "gemm_rate", "MAC/s", 9e10, "higher"))
    found.append(figure("machine", "copy_rate", "B/s", 1e10, "higher"))
    found.append(figure("onnx-fp32", "intensity", "MAC/B", 40.0, component="audio_encoder"))
    found.append(figure("onnx-fp32", "rate", "MAC/s", 7e10, component="audio_encoder"))
    found += [figure("OpenVINO", "p50", "ms", r / 1e3, component="fusion", bank_rows=r)
              for r in (4407, 44070)]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def report() -> BenchReport:
    facts = RunWatch().facts()
    facts["other_cpu_share"] = 0.5
    return BenchReport(
        **facts,
        kind="all",
        title="Fast & <small>",
        settings={"rounds": {"rounds": 30}, "threads": None},
        notes=("taken in turns",),
        figures=tuple(latency_figures()),
    )


@pytest.fixture(scope="module")
def small(report: BenchReport) -> BenchReport:
    """A report with one picture."""
    kept = tuple(figure for figure in report.figures if figure.metric in ("macs", "accuracy"))
    return report.model_copy(update={"title": "Again", "figures": kept})


@pytest.fixture(scope="module")
def page(report: BenchReport, small: BenchReport) -> str:
    return render_page([report, small])


class Parsed(HTMLParser):
    """Checks that every element is closed, and gathers what the page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.identifiers: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        for name, value in attrs:
            if name == "id":
                self.identifiers.append(value or "")
            if name in ("href", "src", "xlink:href"):
                self.references.append(value or "")
            self.references += [f"#{found}" for found in re.findall(r"url\(#(.*?)\)", value or "")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_well_formed_and_has_pictures_and_tables(page: str) -> None:
    found = Parsed(page)
    assert found.count["section"] == 2
    assert found.count["svg"] == 5 + 1
    assert found.count["table"] > 5
    assert "script" not in found.count
    assert "link" not in found.count
    assert "img" not in found.count


def test_the_page_needs_nothing_else(page: str) -> None:
    found = Parsed(page)
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    assert len(set(found.identifiers)) == len(found.identifiers)
    assert {reference[:1] for reference in found.references} == {"#"}
    assert {reference[1:] for reference in found.references} <= set(found.identifiers)


def test_the_page_tells_what_was_measured(page: str, report: BenchReport) -> None:
    text = "".join(Parsed(page).texts)
    assert "Fast & <small>" in text  # written as text, not as markup
    for fact in (
        report.environment.cpu,
        "taken in turns",
        "WARNING, the machine was busy",
        "35 ± 4",
        "Software and settings",
        "rounds.rounds",
        "none",
        "accuracy %",
        "macs GMAC",
    ):
        assert fact in text
    assert text.count("WARNING") == 2  # once for each report


def test_only_pictures_whose_figures_are_there_are_drawn(small: BenchReport) -> None:
    for metrics, pictures in (({"macs"}, 0), ({"macs", "accuracy"}, 1)):
        figures = tuple(f for f in small.figures if f.metric in metrics)
        found = Parsed(render_page([small.model_copy(update={"figures": figures})]))
        assert found.count.get("svg", 0) == pictures


def test_components_without_a_whole_are_drawn_side_by_side(report: BenchReport) -> None:
    def page_of(*figures: Figure) -> str:
        return render_page([report.model_copy(update={"figures": figures})])

    title = "Latency by component: medians"
    peers = [
        figure(target, "p50", "ms", ms, component=component)
        for target, ms in (("transformers", 200.0), ("hemogat", 100.0))
        for component in ("audio_encoder", "text_encoder")
    ]
    authors = figure("authors", "p50", "ms", 5000.0, component="fusion", bank_rows=9)
    page = page_of(*peers, authors)
    assert title in page
    assert "Latency by stage" not in page
    assert title not in page_of(*peers[:2])  # one target
    assert title not in page_of(*peers, figure("a", "p50", "ms", 9.0, component="end_to_end"))
    # One component alone is not called a whole's stages.
    alone = page_of(*(peer for peer in peers if peer.axes["component"] == "text_encoder"))
    assert "Latency of one component, text encoder: medians" in alone


def test_reports_of_one_title_are_told_apart(report: BenchReport) -> None:
    def of(title: str, **settings: object) -> BenchReport:
        return report.model_copy(update={"title": title, "settings": settings})

    reports = [
        *(
            of("Cost", nodes=551, bank_rows=4407),
            of("Load"),
            of("Cost", nodes=2610, bank_rows=4407),
        ),
        *(of("Twice", a=1), of("Twice", a=1)),
        *(of("Both", c="x" * 9, a=1, b=1), of("Both", a=1, b=2), of("Both", a=2, b=2)),
    ]
    assert distinct_titles(reports) == [
        *("Cost (nodes 551)", "Load", "Cost (nodes 2610)"),
        *("Twice (1 of 2)", "Twice (2 of 2)"),
        *("Both (a 1, b 1)", "Both (a 1, b 2)", "Both (a 2, b 2)"),
    ]
    found = Parsed(render_page(reports[:3]))
    assert found.texts.count("Cost (nodes 551)") == 2  # in the contents and as a heading


def test_equal_reports_give_equal_pages(small: BenchReport) -> None:
    assert render_page([small]) == render_page([small])


def test_what_is_missing_is_named(
    report: BenchReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str, extra: str) -> None:
        raise IncompleteError(f"{module} cannot be imported; install hemogat[{extra}]")

    monkeypatch.setattr(report_page, "require", missing)
    with pytest.raises(IncompleteError, match=r"hemogat\[train\]"):
        write_page([report], tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_with_peers_the_page_begins_with_the_summary(report: BenchReport) -> None:
    cases = {"audio_encoder": {}, "encoders": {"tokens": 16}}
    targets = {"transformers eager": 200.0, "hemogat onnx-fp32": 100.0}
    figures = [
        figure(target, "p50", "ms", ms, component=component, **axes)
        for target, ms in targets.items()
        for component, axes in cases.items()
    ]
    figures.append(figure("authors' way", "p50", "ms", 5e3, component="fusion", bank_rows=4407))
    peers = report.model_copy(update={"kind": "peers", "figures": tuple(figures)})
    page = render_page([report, peers], flips={"onnx-fp32": "1 of 400"})
    summary = page[: page.index("<section")]
    assert "<td>hemogat onnx-fp32</td>" in summary
    assert '<td class="number">1 of 400</td>' in summary
    assert "a bank of 4,407 utterances" in summary
    assert "1 of 400" not in page[len(summary) :]


def test_the_page_tells_how_long_it_took(report: BenchReport) -> None:
    first, second = (report.model_copy(update={"took_s": took_s}) for took_s in (90.0, 300.0))
    assert "in 1.5 minutes;" in render_page([first])
    page = render_page([first, second])
    assert "All measurements took 6.5 minutes." in page
    older = report.model_copy(update={"took_s": None})
    page = render_page([first, older])
    assert "All measurements" not in page


def test_reports_stand_by_what_a_reader_asks_first(report: BenchReport) -> None:
    def of(kind: str) -> BenchReport:
        return report.model_copy(update={"kind": kind, "title": kind, "figures": ()})

    page = render_page([of("cost"), of("load"), of("gnn"), of("engines"), of("other")])
    found = re.findall(r"<h2>(.*?)</h2>", page)
    assert found == ["engines", "gnn", "cost", "load", "other"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_browser_shows_and_prints_it(page: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page)
    printed, shown = tmp_path / "report.pdf", tmp_path / "report.png"
    for option in (f"--print-to-pdf={printed}", f"--screenshot={shown}"):
        assert "CONSOLE" not in browse(option, path, tmp_path)  # where it complains of a page
    pages = len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
    assert 2 <= pages <= 4  # two small reports with six pictures
    pixels = matplotlib.image.imread(shown)[..., :3]
    for drawn in ("#56B4E9", "#fff4e5", "#1a1a1a"):  # bars, the warning, text
        wanted = matplotlib.colors.to_rgb(drawn)
        assert (abs(pixels - wanted).max(axis=-1) < 0.01).sum() > 100


def browse(option: str, path: Path, profile_in: Path) -> str:
    """Return what a browser without a window says of a page."""
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={profile_in / option[2:9]}", "--enable-logging=stderr"]
    command = [CHROMIUM, *flags, "--hide-scrollbars", "--window-size=1200,3000", option]
    done = subprocess.run(
        [*command, path.as_uri()], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stderr
