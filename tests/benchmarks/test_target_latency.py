from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.benchmarks import cost_report
from hemogat.benchmarks.bench_server import bench_server
from hemogat.benchmarks.report_comparison import compare
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.side_by_side_tables import latency_table, process_table, report_markdown
from hemogat.benchmarks.target_latency import TargetReport, TargetSettings, measure_targets
from hemogat.benchmarks.targets import (
    BundleTarget,
    Case,
    GraphsTarget,
    HeadShape,
    ServedTarget,
)
from hemogat.benchmarks.worker_link import WorkerLink
from hemogat.errors import BundleError, ConfigError, HemogatError, UnavailableError
from hemogat.progress import Progress
from hemogat.runtime.bundle import SUMS_FILE, Bundle, GraphName, sha256_of
from hemogat.serving.settings import RepositorySettings

FEW = RoundSettings(epochs=1, rounds=2, limit_s=0, turn_runs=2, warm_up_limit_s=0.1)


@pytest.fixture(scope="module")
def report(tiny_bundle: Path, tiny_run: Path) -> TargetReport:
    return measure_targets(
        TargetSettings(
            targets=(f"{tiny_bundle}:onnx-fp32", str(tiny_run)),
            component=("audio_encoder", "text_encoder", "fusion", "end_to_end"),
            windows=(1, 2),
            threads=(1,),
            rounds=FEW,
        )
    )


def test_every_target_has_every_case(report: TargetReport) -> None:
    medians = {
        (f.target, f.axes["component"], f.axes.get("windows"))
        for f in report.figures
        if f.metric == "p50"
    }
    cases = [("audio_encoder", 1), ("audio_encoder", 2), ("text_encoder", None), ("fusion", None)]
    cases += [("end_to_end", 1), ("end_to_end", 2)]
    assert medians == {(t, *case) for t in ("onnx-fp32", "torch-eager") for case in cases}
    for figure in report.figures:
        if figure.low is not None and figure.high is not None:
            assert 0 < figure.low <= figure.high
    assert len({figure.key for figure in report.figures}) == len(report.figures)


def test_ratios_are_to_the_first_target(report: TargetReport) -> None:
    ratios = [f for f in report.figures if f.metric == "speed_up"]
    assert {(f.target, f.axes["over"]) for f in ratios} == {("torch-eager", "onnx-fp32")}
    assert len(ratios) == 6
    table = latency_table(report.figures)
    speed_ups = [row[1 + len(table.left) + table.right.index("speed-up") - 1] for row in table.rows]
    assert sum(map(bool, speed_ups)) == 6


def test_processes_are_weighed(report: TargetReport) -> None:
    of_process = {(f.target, f.metric): f for f in report.figures if "component" not in f.axes}
    for metric in ("start_up", "size"):
        assert of_process["onnx-fp32", metric].value > 0
    small, large = (of_process[t, "peak_memory"].value for t in ("onnx-fp32", "torch-eager"))
    assert small < large / 2  # no torch in the process that runs a bundle
    assert of_process["onnx-fp32", "size"].axes == {"threads": 1, "gnn": "gat", "bank_rows": 24}


def test_the_report_reads_well_and_names_no_place(report: TargetReport) -> None:
    table = latency_table(report.figures)
    assert table.left == ("target", "component", "windows")
    assert len(table.rows) == 12
    assert len(process_table(report.figures).rows) == 2
    text = report_markdown(report, [table])
    assert "| onnx-fp32 | end_to_end | 2 |" in text
    assert "warm-up until" in text
    assert "/tiny" not in report.to_json()
    assert TargetReport.model_validate_json(report.to_json()) == report


def test_the_report_tells_which_models_it_measured(
    report: TargetReport, tiny_bundle: Path, tiny_run: Path
) -> None:
    of_bundle, of_run = report.models
    assert (of_bundle.target, of_run.target) == ("onnx-fp32", "torch-eager")
    assert of_bundle.name == of_run.name == tiny_bundle.parent.name
    assert of_bundle.bundle_sha256 == sha256_of(tiny_bundle / SUMS_FILE)
    assert of_run.bundle_sha256 is None
    # Graph and labels of a run are those that it is served with.
    assert of_bundle.shape == of_run.shape == cost_report.run_sizes(tiny_run).shapes[0]
    assert report.title == f"Latency of {of_bundle.name}: onnx-fp32, torch-eager"
    assert report.conditions_in_name() == (
        *(of_bundle.name, "onnx-fp32", "torch-eager"),
        *("audio_encoder", "text_encoder", "fusion", "end_to_end", "windows 1 2", "1t"),
    )


def test_another_bundle_is_told_of_when_reports_are_compared(report: TargetReport) -> None:
    models = tuple(m.model_copy(update={"bundle_sha256": "0" * 64}) for m in report.models[:1])
    after = report.model_copy(update={"models": (*models, *report.models[1:])})
    told = compare(report, after).differences  # a busy machine is told of, too
    (difference,) = (line for line in told if line.startswith("model of"))
    assert difference.startswith(f"model of onnx-fp32, {report.models[0].name}: ")
    assert difference.endswith(" → 000000000000")
    earlier = report.model_copy(update={"models": ()})  # of a version that did not tell
    assert not any("model of" in line for line in compare(earlier, report).differences)


def test_what_a_worker_refuses_is_raised_here(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        WorkerLink("x", BundleTarget(path=tmp_path, engine="onnx", precision="fp32"))
    link = WorkerLink("x", BundleTarget(path=tiny_bundle, engine="onnx", precision="fp32"))
    with pytest.raises(ConfigError, match="pads such a text to 32"):
        link.run(Case(component="text_encoder", tokens=20), untimed=0, timed=1)
    assert len(link.run(Case(component="fusion", batch=3), untimed=1, timed=2).times_ms) == 2
    assert not link.close().torch_loaded


def test_a_worker_that_dies_is_told_of(tiny_bundle: Path) -> None:
    link = WorkerLink("x", BundleTarget(path=tiny_bundle, engine="onnx", precision="fp32"))
    link._process.kill()
    link._process.wait()  # so that what is sent to it stays unsent, also when the pipe is closed
    with pytest.raises(HemogatError, match="x: the process that measured it ended with code -9"):
        link.run(Case(), untimed=0, timed=1)
    link.stop()


def test_graphs_run_alone(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graphs: tuple[GraphName, ...] = ("audio_encoder", "fusion")
    target = GraphsTarget(
        paths={graph: bundle.graph_path(graph, "onnx", "fp32") for graph in graphs},
        engine="onnx",
        precision="fp32",
        shape=HeadShape(dims=bundle.manifest.dims, bank_rows=24),
    )
    link = WorkerLink("x", target, threads=1)
    assert link.opened.components == graphs
    for component in graphs:
        turn = link.run(Case(component=component, batch=2, windows=2), untimed=0, timed=1)
        assert turn.times_ms[0] > 0
    link.close()


def test_a_server_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnavailableError):
        WorkerLink("x", ServedTarget(url="grpc://127.0.0.1:9"))


def test_a_server_takes_turns_with_the_bundle_that_it_serves(tiny_bundle: Path) -> None:
    with bench_server(tiny_bundle, RepositorySettings(), Progress()) as server:
        report = measure_targets(
            TargetSettings(
                targets=(str(tiny_bundle), f"grpc://{server.grpc_url}"),
                component=("end_to_end", "fusion"),
                rounds=FEW,
            )
        )
    medians = {
        f.target: f.value
        for f in report.figures
        if (f.metric, f.axes.get("component")) == ("p50", "end_to_end")
    }
    assert medians.keys() == {"onnx-fp32", "triton-grpc"}
    assert medians["triton-grpc"] > medians["onnx-fp32"] > 0
    used = {f.target for f in report.figures if f.metric == "cores_used"}
    assert used == {"onnx-fp32"}  # the server's work is not its client's
    assert "not measured: triton-grpc: it does not offer fusion alone" in report.notes
    assert "a server on this machine counts as other work on it" in report.notes


def test_a_servers_threads_are_not_a_choice() -> None:
    settings = TargetSettings(targets=("grpc://127.0.0.1:9",), threads=(1, 2))
    with pytest.raises(ConfigError, match="has the threads that it was started with"):
        measure_targets(settings)


@pytest.mark.slow
def test_a_run_is_compiled(tiny_run: Path) -> None:
    report = measure_targets(
        TargetSettings(
            targets=(str(tiny_run), f"{tiny_run}:compile"),
            component=("fusion",),
            threads=(1,),
            rounds=FEW.model_copy(update={"rounds": 1}),
        )
    )
    medians = {f.target for f in report.figures if f.metric == "p50"}
    assert medians == {"torch-eager", "torch-compile"}
