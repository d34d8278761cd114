from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemogat.benchmarks.environment import Environment
from hemogat.benchmarks.figures import Better, Figure, Unit
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.report_comparison import FigureChange, compare
from hemogat.errors import InputError


def environment(**changed: object) -> Environment:
    facts: dict[str, object] = {
        "cpu": "Some CPU",
        "cores": 2,
        "cpu_flags": ["avx2"],
        "memory_gib": 7.8,
        "os": "Linux",
        "versions": {"python": "3.11.7", "numpy": "1.26.4"},
        "git_commit": None,
    }
    return Environment.model_validate(facts | changed)


def report(*figures: Figure, **changed: object) -> BenchReport:
    facts: dict[str, object] = {
        "kind": "latency",
        "title": "Latency of demo",
        "created_utc": "2026-11-01T12:00:00+00:00",
        "environment": environment(),
        "load_average_before": (0.1, 0.2, 0.3),
        "load_average_after": (0.1, 0.2, 0.3),
        "other_cpu_share": 0.0,
        "settings": {"rounds": 3, "nested": {"threads": None}},
        "figures": figures,
    }
    return BenchReport.model_validate(facts | changed)


def timed(value: float, width: float = 0.1, metric: str = "p50", **axes: str | int) -> Figure:
    low, high = value - width, value + width
    return Figure(
        target="onnx", metric=metric, unit="ms", value=value, low=low, high=high, axes=axes
    )


def only(before: Figure, after: Figure) -> FigureChange:
    (change,) = compare(report(before), report(after)).changes
    return change


def test_intervals_that_overlap_are_noise() -> None:
    change = only(timed(10.0, 0.5), timed(10.8, 0.5))
    assert change.verdict == "within noise"
    assert change.ratio == pytest.approx(1.08)
    assert change.ratio_low is not None
    assert change.ratio_high is not None
    assert change.ratio_low < 1 < change.ratio_high


def test_intervals_apart_are_a_change() -> None:
    slower = only(timed(10.0, 0.3), timed(10.8, 0.3))
    assert slower.verdict == "worse"
    assert slower.worsening == pytest.approx(0.08)
    assert slower.ratio_low is not None
    assert slower.ratio_low > 1
    assert only(timed(10.8, 0.3), timed(10.0, 0.3)).verdict == "better"


@pytest.mark.parametrize(
    ("better", "verdict", "worsening"),
    [("lower", "worse", 0.5), ("higher", "better", -0.5), ("neither", "changed", 0.5)],
)
def test_what_is_better_depends_on_the_figure(
    better: Better, verdict: str, worsening: float
) -> None:
    before = timed(10.0).model_copy(update={"better": better})
    change = only(before, timed(15.0).model_copy(update={"better": better}))
    assert change.verdict == verdict
    assert change.worsening == pytest.approx(worsening)


@pytest.mark.parametrize(
    ("metric", "unit", "after", "judge", "verdict"),
    [
        ("parameters", "count", 101, "count", "worse"),
        ("macs", "MAC", 100.2, "count", "worse"),
        ("size", "MiB", 100.05, "count", "same"),
        ("size", "MiB", 99, "count", "better"),
        ("peak_memory", "MiB", 109, "tolerance", "within tolerance"),
        ("peak_memory", "MiB", 111, "tolerance", "worse"),
        ("p99", "ms", 89, "tolerance", "better"),
        ("errors", "%", 109, "tolerance", "within tolerance"),
    ],
)
def test_without_intervals_counts_are_told_apart_and_the_rest_by_what_is_tolerated(
    metric: str, unit: Unit, after: float, judge: str, verdict: str
) -> None:
    before = Figure(target="onnx", metric=metric, unit=unit, value=100)
    change = only(before, before.model_copy(update={"value": after}))
    assert (change.judged_by, change.verdict) == (judge, verdict)
    assert only(before, before).verdict in ("same", "within tolerance")


def test_how_much_is_tolerated_can_be_said() -> None:
    once = Figure(target="onnx", metric="p99", unit="ms", value=100)
    later = once.model_copy(update={"value": 104})
    for tolerated, verdict in ((0.05, "within tolerance"), (0.03, "worse")):
        (change,) = compare(report(once), report(later), tolerated).changes
        assert change.verdict == verdict


def test_a_speed_up_is_joined_with_one_over_the_same_target() -> None:
    def ratio(target: str, value: float, **axes: str | int) -> Figure:
        return Figure(
            target=target, metric="speed_up", unit="ratio", value=value, better="higher", axes=axes
        )

    def of(target: str) -> Figure:
        return timed(10.0, threads=1).model_copy(update={"target": target})

    before = report(of("eager"), of("onnx"), ratio("onnx", 2.0, threads=1))
    named = report(of("onnx"), of("eager"), ratio("onnx", 2.0, threads=1, over="eager"))
    other = report(of("onnx"), of("eager"), ratio("eager", 0.5, threads=1))
    assert [c.before.metric for c in compare(before, named).changes].count("speed_up") == 1
    found = compare(before, other)
    assert [c.before.metric for c in found.changes] == ["p50", "p50"]
    assert [f.axes["over"] for f in found.only_before + found.only_after] == ["eager", "onnx"]


def test_from_nothing_any_growth_is_endless() -> None:
    before = Figure(target="onnx", metric="bytes", unit="B", value=0)
    change = only(before, before.model_copy(update={"value": 5}))
    assert change.ratio is None
    assert change.worsening == math.inf
    assert change.verdict == "worse"


def test_figures_are_joined_by_their_axes_whatever_the_order() -> None:
    before = report(timed(1.0, batch=1, tokens=16), timed(9.0, batch=4, tokens=16))
    after = report(timed(8.0, tokens=16, batch=4), timed(7.0, tokens=16, batch=8))
    found = compare(before, after)
    assert [(c.before.value, c.after.value) for c in found.changes] == [(9.0, 8.0)]
    assert [figure.value for figure in found.only_before] == [1.0]
    assert [figure.value for figure in found.only_after] == [7.0]


def test_reports_without_a_common_figure_are_refused() -> None:
    with pytest.raises(InputError, match="expected reports with figures in common"):
        compare(report(timed(1.0)), report(timed(1.0, metric="p90")))


def test_the_same_conditions_are_not_told() -> None:
    found = compare(report(timed(1.0)), report(timed(1.0)))
    assert found.differences == ()
    assert found.same_machine
    assert found.quiet


def test_other_conditions_are_told() -> None:
    other = environment(
        cpu="Other CPU",
        versions={"python": "3.12.1", "openvino": "2026.4"},
        gpus=[{"name": "GPU", "memory_mib": 1, "driver": "1"}],
    )
    after = report(
        timed(1.0),
        environment=other,
        settings={"rounds": 5, "nested": {"threads": 1}},
        title="Latency of other",
        other_cpu_share=0.5,
    )
    found = compare(report(timed(1.0)), after)
    assert not found.same_machine
    assert not found.quiet
    told = "\n".join(found.differences)
    for line in (
        "report: latency, Latency of demo → latency, Latency of other",
        "cpu: Some CPU → Other CPU",
        "python: 3.11.7 → 3.12.1",
        "numpy: 1.26.4 → none",
        "openvino: none → 2026.4",
        "setting rounds: 3 → 5",
        "setting nested.threads: none → 1",
        "after: WARNING, the machine was busy",
    ):
        assert line in told
    assert "gpus: none → " in told


values = st.floats(0.1, 100)
widths = st.floats(0, 0.09)


@given(values, widths, values, widths)
def test_turning_a_comparison_round_turns_its_verdict(
    one: float, width: float, other: float, other_width: float
) -> None:
    forth = only(timed(one, width), timed(other, other_width))
    back = only(timed(other, other_width), timed(one, width))
    turned = {"worse": "better", "better": "worse", "within noise": "within noise"}
    assert back.verdict == turned[forth.verdict]
