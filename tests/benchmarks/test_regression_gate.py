from __future__ import annotations

from typing import Any

import pytest

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import Better, Figure, Unit
from hemogat.benchmarks.regression_gate import Gate, gate
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.report_comparison import compare
from hemogat.benchmarks.serving_load_figures import error_share


def environment(cpu: str = "Some CPU") -> Environment:
    return Environment(
        cpu=cpu, cores=2, cpu_flags=("avx2",), memory_gib=7.8, os="Linux", versions={},
        git_commit=None,
    )  # fmt: skip


def report(
    figures: list[Figure], other_cpu_share: float = 0.0, cpu: str = "Some CPU"
) -> BenchReport:
    return BenchReport(
        kind="latency",
        title="Latency of demo",
        created_utc="2026-11-01T12:00:00+00:00",
        environment=environment(cpu),
        load_average_before=(0.1, 0.2, 0.3),
        load_average_after=(0.1, 0.2, 0.3),
        other_cpu_share=other_cpu_share,
        settings={},
        figures=tuple(figures),
    )


def timed(value: float, width: float = 0.1, **axes: str | int) -> Figure:
    low, high = value - width, value + width
    return plain("p50", "ms", value, **axes).model_copy(update={"low": low, "high": high})


def plain(
    metric: str, unit: Unit, value: float, better: Better = "lower", **axes: str | int
) -> Figure:
    return Figure(target="Triton", metric=metric, unit=unit, value=value, better=better, axes=axes)


def under_load(scale: float, failed: int) -> list[Figure]:
    """What a load report has: a median with its interval, all else measured once."""
    return [
        timed(10.0 * scale, 0.1 * scale),
        plain("throughput", "1/s", 100 / scale, "higher"),
        plain("p95", "ms", 20 * scale),
        plain("p99", "ms", 30 * scale),
        plain("peak_memory", "MiB", 500 * scale),
        error_share(failed, 1000, {}),
    ]


def judged(
    before: list[Figure], after: list[Figure], tolerated: float = 0.1, **after_is: Any
) -> Gate:
    return gate(compare(report(before), report(after, **after_is), tolerated))


def names(found: Gate) -> set[str]:
    return {change.before.metric for change in found.regressions}


def test_a_disaster_under_load_fails() -> None:
    found = judged(under_load(1, 0), under_load(10, 990))
    assert names(found) == {"p50", "throughput", "p95", "p99", "peak_memory", "errors"}
    busy = judged(under_load(1, 0), under_load(10, 990), other_cpu_share=0.5)
    assert names(busy) == names(found)  # there is nothing better to judge by


def test_noise_and_what_is_tolerated_pass() -> None:
    found = judged(under_load(1, 3), under_load(1.005, 5))
    assert not found.failed
    assert found.left_out == 0


def test_what_is_worse_within_wide_intervals_is_told() -> None:
    decided = gate(compare(report([timed(10.0)]), report([timed(30.0, 25.0)])))
    assert not decided.failed
    (line,) = decided.in_words(0.1)
    assert "1 figures could not be told from noise" in line


def test_the_worst_stands_first() -> None:
    before, after = ([timed(10.0 * s, component=c) for c, s in each] for each in (
        [("a", 1.0), ("b", 1.0), ("c", 1.0), ("d", 1.0)],
        [("a", 1.05), ("b", 1.2), ("c", 1.5), ("d", 0.2)],
    ))  # fmt: skip
    for tolerated, worse in ((0.1, "cb"), (0.04, "cba"), (0.6, "")):
        found = judged(before, after, tolerated)
        assert [c.before.axes["component"] for c in found.regressions] == list(worse)


def test_a_target_that_is_gone_fails() -> None:
    both = [timed(10.0), timed(5.0).model_copy(update={"target": "openvino"})]
    found = judged(both, both[:1])
    assert found.failed
    assert found.in_words(0.1) == ["1 figures are missing: openvino p50"]
    assert not judged(both[:1], both).failed


def test_tails_may_be_missing_as_they_depend_on_the_number_of_rounds() -> None:
    tails = [plain(metric, "ms", 20) for metric in ("p90", "p95", "p99", "refused_p95")]
    assert not judged([timed(10.0), *tails], [timed(10.0)]).failed


def test_what_is_over_the_reference_workload_counts_on_the_same_machine() -> None:
    def beside(value: float) -> list[Figure]:
        found = plain("relative", "ratio", value)
        bounds = {"low": 0.99 * value, "high": 1.01 * value}
        return [*ratios(2.0), found.model_copy(update=bounds)]

    assert names(judged(beside(1.0), beside(1.5), other_cpu_share=0.5)) == {"relative"}
    assert not judged(beside(1.0), beside(1.5), cpu="Other CPU").failed


def ratios(speed_up: float, times: float = 1.0) -> list[Figure]:
    ratio = plain("speed_up", "ratio", speed_up, "higher", over="eager")
    bounds = {"low": 0.99 * speed_up, "high": 1.01 * speed_up}
    memory = plain("peak_memory", "MiB", 100 * times)
    return [ratio.model_copy(update=bounds), timed(10.0 * times), memory]


@pytest.mark.parametrize(
    ("after_is", "failing"),
    [
        ({}, {"p50", "peak_memory"}),
        ({"other_cpu_share": 0.5}, {"peak_memory"}),
        ({"cpu": "Other CPU"}, set()),
    ],
)
def test_times_count_where_the_machine_is_the_same_and_quiet(
    after_is: dict[str, Any], failing: set[str]
) -> None:
    slower = judged(ratios(2.0), ratios(2.0, times=2.0), **after_is)
    assert names(slower) == failing
    assert slower.left_out == 2 - len(failing)
    lost = judged(ratios(2.0), ratios(1.5, times=1.0), **after_is)
    assert names(lost) == {"speed_up"}


@pytest.mark.parametrize(
    ("failed", "low", "high"), [(0, 0, 3.7), (50, 40.4, 59.6), (100, 96.3, 100)]
)
def test_error_shares_have_wilsons_interval(failed: int, low: float, high: float) -> None:
    figure = error_share(failed, 100, {})
    assert figure.value == failed
    assert figure.low == pytest.approx(low, abs=0.05)
    assert figure.high == pytest.approx(high, abs=0.05)
