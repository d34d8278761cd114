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
    assert [table.names for table in tables] == [("target", "component", "tokens"), ("target",)]
    assert tables[0].numbers == ("p50 ms", "p90 ms")
    assert tables[0].rows == (("a", "fusion", "", "1", "2"), ("b", "end_to_end", "16", "3", ""))
    assert tables[1].numbers == ("size MiB", "start up s")
    assert tables[1].rows == (("a", "900", ""), ("b", "800", "2"))


def test_a_column_has_one_unit_and_intervals_scale_with_it() -> None:
    counts = [figure("a", "macs", "MAC", 2e9), figure("b", "macs", "MAC", 3e6)]
    counts[0] = counts[0].model_copy(update={"low": 1e9, "high": 3e9})
    (table,) = figure_tables(counts)
    assert table.numbers == ("macs GMAC",)
    assert [row[-1] for row in table.rows] == ["2 (1 to 3)", "0.00300"]


def test_only_the_medians_interval_is_shown() -> None:
    bounds = {"low": 1.5, "high": 2.5}
    times = [figure("a", q, "ms", 2.25).model_copy(update=bounds) for q in ("p50", "p99")]
    (table,) = figure_tables(times)
    assert table.rows == (("a", "2.25 (1.50 to 2.50)", "2.25"),)
