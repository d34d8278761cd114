from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.benchmarks.cost import variant_costs
from hemogat.benchmarks.cost_report import (
    CostReport,
    CostSettings,
    Sizes,
    base_sizes,
    measure_cost,
    run_sizes,
)
from hemogat.benchmarks.cost_tables import cost_table, roofline_table
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.machine_rates import MachineRates, Rate, over_floor
from hemogat.benchmarks.measured_models import MeasuredModel
from hemogat.benchmarks.report import BenchReport
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.targets import HeadShape
from hemogat.benchmarks.work import work_of
from hemogat.config import GraphConfig, HeadConfig
from hemogat.errors import ConfigError
from hemogat.runtime.bundle import Dims

FEW = RoundSettings(epochs=1, rounds=2, limit_s=0, turn_runs=2, warm_up_limit_s=0.1)


@pytest.fixture(scope="module")
def report(tiny_run: Path, tiny_bundle: Path) -> CostReport:
    settings = CostSettings(measured=str(tiny_bundle), threads=1, rounds=FEW)
    return measure_cost(run_sizes(tiny_run), settings)


def figures(report: CostReport, metric: str) -> dict[tuple[str, object], Figure]:
    found = (f for f in report.figures if f.metric == metric)
    return {(f.target, f.axes.get("component")): f for f in found}


def test_times_stand_beside_the_floor(report: CostReport) -> None:
    floors, medians = figures(report, "floor"), figures(report, "p50")
    over = figures(report, "over_floor")
    for component in ("audio_encoder", "text_encoder", "fusion"):
        floor_ms = floors["model", component].value
        median_ms = medians["onnx-fp32", component].value
        assert over["onnx-fp32", component].value == pytest.approx(median_ms / floor_ms)
        assert median_ms > floor_ms  # tiny graphs are nowhere near it
    assert len({figure.key for figure in report.figures}) == len(report.figures)


def test_the_floor_is_the_later_of_arithmetic_and_memory(report: CostReport) -> None:
    rates = report.rates
    for metric in ("macs", "moved", "floor"):
        assert len(figures(report, metric)) == 3
    for key, floor in figures(report, "floor").items():
        macs, moved = figures(report, "macs")[key].value, figures(report, "moved")[key].value
        compute_ms, memory_ms = (
            1e3 * macs / rates.gemm.value,
            1e3 * moved / rates.copied.value,
        )
        assert floor.value == pytest.approx(max(compute_ms, memory_ms))
        assert figures(report, "intensity")[key].value == pytest.approx(macs / moved)


def test_tables(report: CostReport) -> None:
    assert [row[0] for row in cost_table(report).rows] == ["gat"]
    table = roofline_table(report)
    assert [row[0] for row in table.rows] == ["audio_encoder", "text_encoder", "fusion gat"]
    assert table.right[-1] == "onnx-fp32, x floor"
    assert all(row[-1] for row in table.rows)


def test_an_earlier_report_gives_the_times(
    report: CostReport, tiny_run: Path, tmp_path: Path
) -> None:
    path = written(earlier_report(report, tiny_run), tmp_path)
    again = measure_cost(run_sizes(tiny_run), CostSettings(measured=str(path), threads=1))
    assert again.settings.measured == path.name  # no place on the disk
    assert figures(again, "p50") == figures(report, "p50")
    path.write_text(report.to_json())
    with pytest.raises(ConfigError, match="is a report of cost"):
        measure_cost(run_sizes(tiny_run), CostSettings(measured=str(path)))


def earlier_report(report: CostReport, run: Path) -> BenchReport:
    """Make the report of targets that has the same times."""
    model = MeasuredModel(target="onnx-fp32", name="tiny", shape=run_sizes(run).shapes[0])
    return report.model_copy(update={"kind": "side-by-side", "models": (model,)})


def written(report: BenchReport, folder: Path) -> Path:
    path = folder / "earlier.json"
    path.write_text(report.to_json())
    return path


def refusal_of(report: BenchReport, sizes: Sizes, folder: Path, threads: int | None = None) -> str:
    settings = CostSettings(measured=str(written(report, folder)), threads=threads)
    with pytest.raises(ConfigError) as refused:
        measure_cost(sizes, settings)
    return str(refused.value)


def test_a_report_of_other_sizes_is_refused(
    report: CostReport, tiny_run: Path, tmp_path: Path
) -> None:
    earlier, sizes = earlier_report(report, tiny_run), run_sizes(tiny_run)
    assert "hidden 16); name the run" in refusal_of(earlier, base_sizes(24), tmp_path)
    without = earlier.model_copy(update={"models": ()})
    assert "does not tell the sizes" in refusal_of(without, sizes, tmp_path)
    served = MeasuredModel(target="triton-grpc", name="grpc://host:8001")  # tells no sizes
    mixed = earlier.model_copy(update={"models": (*earlier.models, served)})
    assert "does not tell the sizes of all" in refusal_of(mixed, sizes, tmp_path)
    preset = without.model_copy(update={"kind": "engines"})  # always of the base sizes
    assert "hidden 512); name the run" in refusal_of(preset, sizes, tmp_path)


def test_a_report_without_its_machines_rates_is_refused(
    report: CostReport, tiny_run: Path, tmp_path: Path
) -> None:
    times = tuple(f for f in report.figures if f.target != "machine")  # as of a GPU
    earlier = earlier_report(report, tiny_run).model_copy(update={"figures": times})
    assert "holds no rates of the machine" in refusal_of(earlier, run_sizes(tiny_run), tmp_path)


def test_times_meet_the_rates_of_their_number_of_threads(
    report: CostReport, tiny_run: Path, tmp_path: Path
) -> None:
    sizes, earlier = run_sizes(tiny_run), earlier_report(report, tiny_run)
    assert "expected figures on 8 threads, found them on 1" in refusal_of(
        earlier, sizes, tmp_path, threads=8
    )

    def on(threads: int, factor: float) -> list[Figure]:
        change = {"low": None, "high": None}
        return [
            f.model_copy(
                update=change | {"axes": f.axes | {"threads": threads}, "value": f.value * factor}
            )
            for f in earlier.figures
            if f.metric == "p50" or f.target == "machine"
        ]

    both = earlier.model_copy(update={"figures": (*on(1, 1.0), *on(2, 2.0))})
    told = refusal_of(both, sizes, tmp_path)
    assert "expected figures on one number of threads, found them on 1, 2" in told
    settings = CostSettings(measured=str(written(both, tmp_path)), threads=2)
    found = measure_cost(sizes, settings)
    assert found.rates.threads == 2
    assert found.rates.gemm.value == 2 * report.rates.gemm.value
    medians = figures(report, "p50")
    for key, median in figures(found, "p50").items():
        assert median.value == 2 * medians[key].value
    assert len({figure.key for figure in found.figures}) == len(found.figures)


def test_another_run_is_refused(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match="is not of the sizes that are counted"):
        measure_cost(base_sizes(24), CostSettings(measured=str(tiny_run)))


def test_a_bundle_of_other_sizes_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="a bank of 24 rows, hidden 16"):
        measure_cost(base_sizes(400), CostSettings(measured=str(tiny_bundle)))


def test_the_work_of_base_sizes() -> None:
    sizes = base_sizes(4407)
    audio, text, gat, *_ = work_of(sizes.encoders, sizes.shapes, windows=1, tokens=16)
    encoder_macs = variant_costs()[0].encoder_macs  # at 128 tokens
    assert 0.35 < (audio.macs + text.macs) / encoder_macs < 0.5
    assert 94e6 < audio.moved_bytes / 4 < 96e6  # wav2vec2-base's parameters
    assert 85e6 < text.moved_bytes / 4 < 88e6  # BERT's without the rows of its vocabulary
    searched = 4407 * 2 * 768
    assert searched + 8e6 < gat.moved_bytes / 4 < searched + 12e6


def test_only_the_search_grows_with_the_bank() -> None:
    shape = HeadShape(
        dims=Dims(audio=4, text=4),
        head=HeadConfig(hidden=8, heads=2, gnn="gcn"),
        graph=GraphConfig(k_audio=1, k_text=1),
        bank_rows=10,
    )
    larger = shape.model_copy(update={"bank_rows": 30})
    (few,), (many,) = (work_of(None, [s], windows=1, tokens=16) for s in (shape, larger))
    assert many.macs - few.macs == 20 * 8
    assert many.moved_bytes - few.moved_bytes == 20 * 8 * 4


def test_rates_make_a_floor() -> None:
    rates = MachineRates(
        gemm=Rate(value=1e9), copied=Rate(value=1e9), gemm_int8=Rate(value=2e9), threads=1
    )
    compute, memory = rates.floor(2_000_000, 1000), rates.floor(1000, 3_000_000)
    assert compute is not None
    assert memory is not None
    assert (compute.ms, memory.ms) == pytest.approx((2, 3))
    int8 = rates.floor(2_000_000, 6_000_000, int8=True)
    assert int8 is not None
    assert int8.ms == pytest.approx(1.5)  # a quarter of the bytes, at the copy's rate
    without = rates.model_copy(update={"gemm_int8": None})
    assert without.floor(1, 1, int8=True) is None


def test_what_is_over_the_floor_has_the_spread_of_both() -> None:
    rates = MachineRates(gemm=Rate(value=1e9, low=0.8e9, high=1.25e9), copied=Rate(value=1e12))
    time = Figure(target="x", metric="p50", unit="ms", value=4, low=3.2, high=5)
    floor = rates.floor(2_000_000, 0)
    assert floor is not None
    found = over_floor(time, floor)
    assert found.value == 2
    assert found.high == pytest.approx(2 * 1.25**2**0.5)
    assert found.low == pytest.approx(2 / 1.25**2**0.5)
    assert over_floor(time.model_copy(update={"low": None}), floor).low is None


def test_int8_stands_over_its_own_floor(report: CostReport) -> None:
    rates = {f.metric for f in report.figures if f.target == "machine"}
    assert rates == {"gemm_rate", "copy_rate", "gemm_int8_rate"}
    floors, int8 = figures(report, "floor"), figures(report, "floor_int8")
    assert int8.keys() == floors.keys()
    assert all(int8[key].value < floors[key].value for key in floors)
