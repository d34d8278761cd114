from __future__ import annotations

from hemogat.benchmarks.figure_tables import figure_tables
from hemogat.benchmarks.figures import Figure, Unit


def figure(target: str, metric: str, unit: Unit, value: float, **axes: str | int) -> Figure:
    return Figure(target=target, metric=metric, unit=unit, value=value, axes=axes)


def test_rows_with_a_metric_in_common_stand_together() -> None:
    tables = figure_tables(
        [
            figure("a", "p50", "ms", 1.0, component="fusion"),
            figure("a", "p90", "ms", 2.0, component="fusion"),
            figure("b", "p50", "ms", 3.0, component="end_to_end", tokens=16),
            figure("a", "size", "MiB", 900.0),
            figure("b", "start_up", "s", 2.0),
            figure("b", "size", "MiB", 800.0),
        ]
    )
    captions = [table.caption for table in tables]
    assert captions == ["fusion", "end to end; tokens 16", ""]
    assert [table.names for table in tables] == [("target",)] * 3
    fusion, whole, processes = tables
    assert fusion.numbers == ("p50 ms", "p90 ms")
    assert fusion.rows == (("a", "1", "2"),)
    assert whole.rows == (("b", "3"),)
    assert processes.numbers == ("size MiB", "start up s")
    assert processes.rows == (("a", "900", ""), ("b", "800", "2"))


def test_what_varies_has_a_column_and_the_rest_is_told_once() -> None:
    figures = [
        figure("a", "p50", "ms", ms, component="text_encoder", batch=1, tokens=tokens)
        for tokens, ms in ((16, 2.0), (128, 9.0))
    ]
    (table,) = figure_tables(figures)
    assert table.caption == "text encoder; batch 1"
    assert table.rows == (("a", "16", "2"), ("a", "128", "9"))


def test_a_ratio_stands_beside_the_time_whatever_it_is_over() -> None:
    figures = [
        figure("a", "p50", "ms", 2.0, batch=1),
        figure("b", "p50", "ms", 1.0, batch=1),
        figure("b", "speed_up", "ratio", 2.0, batch=1, over="a"),
        figure("b", "speed_up", "ratio", 5.0, batch=1, over="slow"),
    ]
    (table,) = figure_tables(figures)
    assert table.caption == "batch 1"
    assert table.numbers == ("p50 ms", "speed up over a ×", "speed up over slow ×")
    assert table.rows == (("a", "2", "", ""), ("b", "1", "2", "5"))


def test_a_column_has_one_unit_and_intervals_scale_with_it() -> None:
    counts = [figure("a", "macs", "MAC", 2e9), figure("b", "macs", "MAC", 3e6)]
    counts[0] = counts[0].model_copy(update={"low": 1e9, "high": 3e9})
    (table,) = figure_tables(counts)
    assert table.numbers == ("macs GMAC",)
    assert [row[-1] for row in table.rows] == ["2.0 ± 1.0", "0.00300"]


def test_only_the_medians_interval_is_shown() -> None:
    bounds = {"low": 1.5, "high": 2.5}
    times = [figure("a", q, "ms", 2.25).model_copy(update=bounds) for q in ("p50", "p99")]
    (table,) = figure_tables(times)
    assert table.rows == (("a", "2.2 ± 0.8", "2.25"),)
