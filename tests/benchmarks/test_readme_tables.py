"""README's marked tables are those of the committed results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import readme_tables

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import Better, Figure, Unit
from hemogat.benchmarks.report import BenchReport
from hemogat.errors import InputError


def test_the_readme_is_current() -> None:
    text = readme_tables.README.read_text(encoding="utf-8")
    assert readme_tables.render(text, allow_noisy=True) == text, "run: make bench-readme"
    marks = re.findall(r"<!-- bench:([a-z-]+) -->", text)
    assert marks
    assert text.count("<!-- /bench -->") == len(marks)


def figure(
    target: str, metric: str, unit: Unit, value: float, better: Better = "lower", **axes: str | int
) -> Figure:
    low, high = (None, None) if unit == "MiB" else (0.98 * value, 1.01 * value)
    return Figure(
        target=target, metric=metric, unit=unit, value=value, low=low, high=high, better=better,
        axes=axes,
    )  # fmt: skip


def timed(target: str, scale: float, ratio: float | None = None) -> list[Figure]:
    """Both encoders: 140 ms at scale 1, 250 ms with 128 tokens.

    ``ratio``: the speed-ups, which are not those of the medians.
    """
    cases: list[tuple[float, dict[str, str | int]]] = [
        (140, {"component": "encoders", "tokens": 16}),
        (250, {"component": "encoders", "tokens": 128}),
        (100, {"component": "audio_encoder"}),
    ]
    found = [figure(target, "p50", "ms", ms * scale, **axes) for ms, axes in cases]
    if ratio is not None:
        # Over something else too, which is not what is asked for.
        bases = {"other": 9.0, "transformers eager": ratio}
        found += [
            figure(target, "speed_up", "ratio", times, "higher", **axes, over=over)
            for _, axes in cases
            for over, times in bases.items()
        ]
    size = figure(target, "size", "MiB", 700.4)
    return [*found, size, figure(target, "peak_memory", "MiB", 1500.2, gnn="gat")]


def peers() -> list[Figure]:
    graph = figure("authors' way", "p50", "ms", 5000, component="fusion", bank_rows=4407)
    return [
        *timed("transformers eager", 1),
        *timed("hemogat onnx-fp32", 0.5, ratio=2.2),
        figure("hemogat onnx-fp32", "p50", "ms", 3.5, component="fusion"),
        graph.model_copy(update={"low": None, "high": None}),
        figure("machine", "gemm_rate", "MAC/s", 9e10),  # no target
        figure("authors' way", "mean", "ms", 5000, component="fusion", bank_rows=4407),
    ]


def layers() -> list[Figure]:
    return [
        figure("model", "weighted_f1", "%", 60.0, gnn="gat"),
        figure("model", "accuracy", "%", 62.0, gnn="gat"),
        figure("model", "head_parameters", "count", 5e5, gnn="gat"),
        figure("model", "inductive_macs", "MAC", 1.5e9, gnn="gat"),
    ]


def write(folder: Path, name: str, figures: list[Figure], others: float) -> None:
    report = BenchReport(
        kind="peers",
        title=name,
        created_utc="2026-11-01T12:00:00+00:00",
        environment=Environment(
            cpu="Some CPU", cores=2, cpu_flags=(), memory_gib=8, os="Linux", versions={},
            git_commit=None,
        ),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(0.1, 0.2, 0.3),
        other_cpu_share=others,
        settings={},
        figures=tuple(figures),
    )  # fmt: skip
    (folder / f"{name}.json").write_text(report.to_json())


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with what the tables read, of round numbers."""
    write(tmp_path, "peers-base-some-cpu-2c", peers(), 0.01)
    write(tmp_path, "gnn-meld-text-some-cpu", layers(), 0.0)
    monkeypatch.setattr(readme_tables, "RESULTS", tmp_path)
    return tmp_path


MARK = "<!-- bench:base-sizes -->\nold\n<!-- /bench -->"


def test_how_fast_how_big_how_accurate_against_whom_on_what(results: Path) -> None:
    text = readme_tables.render(f"before\n{MARK}\nafter\n")
    assert text.startswith("before\n<!-- bench:base-sizes -->\n| ")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in text
    first = text[: text.index("\n\n")]
    assert first.count("\n| ") == 4  # the heading and three targets
    assert "| 1 s of audio and 16 tokens, on Some CPU, 2 cores, no GPU |" in first
    assert "a new graph each time | 250 ± 5 |  | 5,000 |" in first
    assert "| transformers eager | 140 ± 3 | 1 |  | 700 | 1,500 |  |" in first
    # The ratios of each round, not of the medians; the demo's bundle has this engine.
    row = "| hemogat onnx-fp32 | 70.0 ± 1.4 | 2.20 ± 0.04 | 3.50 ± 0.07 | 700 | 1,500 | 0 of "
    assert row in first
    assert "a bank of 4,407 utterances" in text
    assert "| GAT | 60.0 ± 1.2 | 62.0 ± 1.2 | 0.50 | 1.50 |" in text
    assert "while other work" not in text
    assert readme_tables.render(text) == text


def test_a_busy_machines_results_are_refused_or_marked(results: Path) -> None:
    write(results, "peers-base-some-cpu-2c", peers(), 0.37)
    with pytest.raises(InputError, match=r"peers-base.*37\.0 %.*--allow-noisy"):
        readme_tables.render(MARK)
    text = readme_tables.render(MARK, allow_noisy=True)
    assert text.count("while other work took") == 1
    assert "in one run, while other work took 37 % of the machine;" in text


def test_a_mark_without_a_table_or_a_result_is_refused(results: Path) -> None:
    with pytest.raises(InputError, match="bench:other: expected one of base-sizes, demo-load"):
        readme_tables.render("<!-- bench:other -->\n<!-- /bench -->")
    with pytest.raises(InputError, match=r"load-demo-\*.json: expected one result, found 0"):
        readme_tables.render("<!-- bench:demo-load -->\n<!-- /bench -->")
