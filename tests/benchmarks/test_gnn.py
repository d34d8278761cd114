from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from hemogat.benchmarks.cost import encoders_cost, variant_costs
from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.gnn import GnnReport, GnnSettings, measure_gnn
from hemogat.benchmarks.gnn_tables import gnn_tables
from hemogat.benchmarks.gnn_variants import (
    ACCURACIES,
    STUDY_FILE,
    Variant,
    base_variants,
    encoders_of_run,
    variants_of_runs,
)
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.targets import HeadShape
from hemogat.config import GraphConfig, HeadConfig
from hemogat.data.manifest import Split
from hemogat.errors import ConfigError, InputError
from hemogat.runtime.bundle import Dims
from hemogat.training.head_names import FULL
from hemogat.training.intervals import estimate
from hemogat.training.run_directory import RunDirectory
from hemogat.training.study_record import Study, StudyRow

FEW = RoundSettings(epochs=1, rounds=2, limit_s=0, turn_runs=2, warm_up_limit_s=0.1)


@pytest.fixture(scope="module")
def report(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> GnnReport:
    variants = variants_of_runs([f"gat={tiny_run}"])
    settings = GnnSettings(
        engines=("onnx-fp32", "openvino-fp32"), bank_rows=(24, 48), nodes=7, rounds=FEW
    )
    return measure_gnn(variants, settings, tmp_path_factory.mktemp("gnn"))


def of(report: GnnReport, target: str, metric: str) -> list[Figure]:
    return [f for f in report.figures if (f.target, f.metric) == (target, metric)]


def test_every_engine_is_timed_against_every_bank(report: GnnReport) -> None:
    for engine in ("onnx-fp32", "openvino-fp32"):
        assert [f.axes["bank_rows"] for f in of(report, engine, "p50")] == [24, 48]
        assert all(f.axes["gnn"] == "gat" for f in of(report, engine, "p50"))
    assert len(of(report, "openvino-fp32", "speed_up")) == 2
    assert len({figure.key for figure in report.figures}) == len(report.figures)


def test_a_run_gives_sizes_and_accuracy(report: GnnReport) -> None:
    (accuracy,) = of(report, "model", "accuracy")
    assert 0 <= accuracy.value <= 100
    (head,), (total,) = of(report, "model", "head_parameters"), of(report, "model", "parameters")
    assert 0 < head.value < total.value
    (macs,), (per_node,) = of(report, "model", "macs"), of(report, "model", "head_macs")
    assert macs.value > 7 * per_node.value


def test_the_table_is_table_5_with_latency(report: GnnReport) -> None:
    table, timed, processes = gnn_tables(report)
    assert table.left == ("layers",)
    assert table.right[:2] == ("accuracy %", "weighted F1 %")
    assert table.right[-2:] == ("onnx-fp32 ms", "openvino-fp32 ms")
    ((layers, *cells),) = table.rows
    assert layers == "gat"

    def value(target: str, metric: str) -> float:
        return of(report, target, metric)[0].value

    # The figures themselves: percent, millions, and milliseconds against the smaller bank.
    assert float(cells[0]) == pytest.approx(value("model", "accuracy"), abs=0.06)
    assert float(cells[1]) == pytest.approx(value("model", "weighted_f1"), abs=0.06)
    for cell, engine in zip(cells[-2:], ("onnx-fp32", "openvino-fp32"), strict=True):
        assert float(cell) == pytest.approx(value(engine, "p50"), rel=0.05, abs=0.006)
    assert timed.left == ("target", "component", "bank_rows")
    assert len(timed.rows) == len(processes.rows) == 4


def test_the_base_variants_cost_what_bench_cost_counts() -> None:
    counted = {cost.gnn: cost for cost in variant_costs()}
    for variant in base_variants():
        assert variant.encoders is not None
        assert variant.shape.dims == Dims(audio=768, text=768)
        assert variant.encoders.params == counted[variant.gnn].encoder_params
    assert len(counted) == 3


def test_a_run_counts_with_the_encoders_that_its_head_reads(tiny_run: Path, tmp_path: Path) -> None:
    run = RunDirectory.open(tiny_run)
    heads = {FULL: run.record.heads[FULL].model_copy(update={"modalities": "text"})}
    of_text = RunDirectory(tiny_run, run.record.model_copy(update={"heads": heads}))
    both, text = encoders_of_run(run), encoders_of_run(of_text)
    assert both is not None
    assert text is not None
    assert text.audio is None
    counted, less = (encoders_cost(*each, tokens=16) for each in (both, text))
    assert 0 < less.params < counted.params
    assert less.audio_macs == {}
    assert less.text_macs == counted.text_macs
    assert encoders_of_run(RunDirectory(tmp_path, run.record)) is None


def test_runs_that_do_not_fit_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a run with gcn, found one with gat"):
        variants_of_runs([f"gcn={tiny_run}"])
    with pytest.raises(ConfigError, match=r"gat\|gcn\|sage=RUN"):
        variants_of_runs([f"gin={tiny_run}", f"gat={tiny_run}"])
    with pytest.raises(ConfigError, match="each kind of layer once"):
        variants_of_runs([f"gat={tiny_run}", f"gat={tiny_run}"])
    with pytest.raises(InputError, match="hemogat study gnn"):
        variants_of_runs([str(tiny_run)])


@pytest.mark.parametrize(
    ("lacking", "problem"),
    [
        ({"gat": ("val",)}, "none for accuracy of gat, weighted_f1 of gat, unweighted_accuracy of"),
        ({"gat": ("test",), "sage": ()}, "figures of gat, sage on .* none for accuracy of sage,"),
        ({"other": ("test",)}, "expected figures of gat, gcn, sage on the test split, found none"),
        ({}, "expected figures of gat, gcn, sage on the test split, found none"),
    ],
)
def test_a_study_that_lacks_its_test_figures_is_refused(
    lacking: dict[str, tuple[Split, ...]], problem: str, tiny_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (run / STUDY_FILE).parent.mkdir(parents=True)

    def variants(splits: dict[str, tuple[Split, ...]]) -> list[Variant]:
        (run / STUDY_FILE).write_text(study(splits).model_dump_json())
        return variants_of_runs([str(run)])

    whole = variants({"sage": ("test",), "gat": ("test",)})
    assert [variant.gnn for variant in whole] == ["gat", "sage"]
    with pytest.raises(InputError, match=rf"study\.json: .*{problem}.*hemogat study gnn"):
        variants(lacking)


def study(splits: dict[str, tuple[Split, ...]]) -> Study:
    """Return a study whose rows have figures on these splits."""
    figures = {name: estimate([0.5], best=0) for name in ACCURACIES}
    sizes = {"k_audio": 2, "k_text": 3, "parameters": 1, "macs_per_node": 1}
    rows = [
        StudyRow(name=name, **sizes, figures=dict.fromkeys(known, figures), minus_reference={})
        for name, known in splits.items()
    ]
    return Study(
        kind="gnn", recipe="tiny", seeds=(0,), reference=None, chosen="gat", rows=tuple(rows)
    )


def test_a_bank_smaller_than_the_neighbourhood_is_refused(tmp_path: Path) -> None:
    shape = HeadShape(
        dims=Dims(audio=4, text=4),
        head=HeadConfig(hidden=8, heads=2),
        graph=GraphConfig(k_audio=2, k_text=3),
    )
    with pytest.raises(ConfigError, match="--bank-rows 3: expected more than the 3 neighbours"):
        measure_gnn([Variant(shape, None, {})], GnnSettings(bank_rows=(3,)), tmp_path)


def test_an_engine_that_is_not_installed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = HeadShape(
        dims=Dims(audio=4, text=4),
        head=HeadConfig(hidden=8, heads=2, gnn="gcn"),
        graph=GraphConfig(k_audio=2, k_text=3),
        bank_rows=20,
    )
    monkeypatch.setitem(sys.modules, "openvino", None)
    settings = GnnSettings(engines=("onnx-fp32", "openvino-fp32"), rounds=FEW)
    report = measure_gnn([Variant(shape, None, {})], settings, tmp_path)
    assert {figure.target for figure in report.figures} == {"onnx-fp32", "machine"}
    assert any(n.startswith("not measured: openvino-fp32: openvino") for n in report.notes)
