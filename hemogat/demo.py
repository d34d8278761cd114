"""The whole path on a made corpus: speech, training, export, a real Triton server, measurements."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hemogat.benchmarks.latency import Clip, LatencySettings, measure_pipeline, measure_triton
from hemogat.benchmarks.statistics import LatencySummary
from hemogat.config import Settings
from hemogat.data.demo_corpus import make_demo_corpus, make_gate_corpus
from hemogat.data.manifest import Utterance
from hemogat.errors import ParityError
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.files import write_atomic
from hemogat.progress import Progress
from hemogat.recipe_files import load_recipe
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction import Prediction
from hemogat.serving.client import Client, Protocol, ServedPrediction
from hemogat.serving.locate import find_tritonserver
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.training.evaluation import evaluate_run
from hemogat.training.train import train
from hemogat.versions import installed_versions

SUMMARY_FILE = "summary.json"
_MEASURED_UTTERANCES = 100
_SERVED_WITHIN = 1e-4  # of the pipeline's probabilities
_PACKAGES = (
    "hemogat", "torch", "transformers", "torch-geometric", "onnx", "onnxruntime", "numpy",
    "nvidia-pytriton", "tritonclient", "espeakng-loader",
)  # fmt: skip


class DemoParity(Settings):
    """Torch against the exported graphs, end to end on utterances that nothing was trained on."""

    utterances: int
    flips: int
    max_abs_diff: float


class DemoTriton(Settings):
    """The in-process pipeline against the server, every test clip over gRPC and over HTTP."""

    version: str
    requests: int
    flips: int
    max_abs_diff: float
    without_text: str
    without_audio: str


class DemoSummary(Settings):
    """``summary.json``: every figure that the demo's table shows."""

    utterances: dict[str, int]
    accuracy: dict[str, float]
    parity: DemoParity
    triton: DemoTriton
    latency_ms: dict[str, dict[str, float]]
    duration_s: dict[str, float]
    paths: dict[str, str]
    versions: dict[str, str]


@dataclass
class _Timer:
    """Seconds by stage."""

    duration_s: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.duration_s[name] = round(time.perf_counter() - started, 2)


def run_demo(out: Path, progress: Progress | None = None) -> DemoSummary:
    """Make everything anew below ``out`` and write ``summary.json`` there.

    Raises:
        IncompleteError: a package or the tritonserver is missing here.
        ParityError: the exported graphs do not answer as the reference, or the server does not
            answer as the pipeline.
        ServerError: the server did not start or failed.
        InputError: ``out`` holds something that the demo did not make.
    """
    progress = progress or Progress()
    timer = _Timer()
    paths = {name: out / name for name in ("corpus", "gate", "run", "bundle", "repository")}
    (out / SUMMARY_FILE).unlink(missing_ok=True)  # of an earlier demo, whose folders go now
    find_tritonserver()  # missing, it is better said now than after training
    with timer.stage("corpus"):
        utterances = _make_corpus(paths["corpus"], progress)
        with progress.stage("Speak for the gate") as stage:
            compared = make_gate_corpus(paths["gate"], progress=stage.reach).manifest
    with timer.stage("train"):
        manifest = paths["corpus"] / "manifest.csv"
        # An earlier demo's run, finished or interrupted, goes as its corpus did.
        run = train(load_recipe("demo"), manifest, paths["run"], progress, existing="restart")
        accuracy = evaluate_run(run).accuracies()
    with timer.stage("export"):
        config = ExportConfig()
        parity = export_run(run.path, paths["bundle"], config, progress, inputs=compared).parity
    test = [u for u in utterances if u.split == "test"]
    triton, latency_ms = _serve(paths["bundle"], paths["repository"], test, timer, progress)
    summary = DemoSummary(
        utterances={s: sum(u.split == s for u in utterances) for s in ("train", "val", "test")},
        accuracy=accuracy,
        parity=DemoParity(
            utterances=parity.utterances,
            flips=parity.end_to_end.flips or 0,
            max_abs_diff=parity.end_to_end.max_abs_diff,
        ),
        triton=triton,
        latency_ms=latency_ms,
        duration_s=timer.duration_s,
        paths={name: str(path) for name, path in paths.items()}
        | {"summary": str(out / SUMMARY_FILE)},
        versions=installed_versions(_PACKAGES),
    )
    text = json.dumps(summary.model_dump(mode="json"), indent=1) + "\n"
    write_atomic(out / SUMMARY_FILE, text)
    return summary


def _serve(
    bundle: Path, repository: Path, test: Sequence[Utterance], timer: _Timer, progress: Progress
) -> tuple[DemoTriton, dict[str, dict[str, float]]]:
    """Start a server, compare its answers with the pipeline's, measure both, stop it."""
    pipeline = Pipeline.load(bundle)
    with ExitStack() as stack:
        with timer.stage("serve"):
            write_repository(bundle, repository)
            with progress.stage("Start tritonserver") as stage:
                server = TritonServer(
                    repository,
                    log_path=repository.with_name("tritonserver.log"),
                    on_status=lambda line: stage.advance(0, note=line),
                )
                stack.enter_context(server)
            clients: dict[Protocol, Client] = {
                "grpc": stack.enter_context(Client(server.grpc_url, "grpc")),
                "http": stack.enter_context(Client(server.http_url, "http")),
            }
            triton = _compare_with_server(pipeline, clients, test, progress)
        with timer.stage("measure"):
            latency_ms = _measure(pipeline, clients, test, progress)
    return triton, latency_ms


def _make_corpus(folder: Path, progress: Progress) -> tuple[Utterance, ...]:
    with progress.stage("Speak the corpus") as stage:
        return make_demo_corpus(folder, progress=stage.reach).utterances


def _compare_with_server(
    pipeline: Pipeline,
    clients: dict[Protocol, Client],
    test: Sequence[Utterance],
    progress: Progress,
) -> DemoTriton:
    """Send every clip over both protocols, and the first one without each modality."""
    both = [(u.audio, u.text) for u in test]
    no_text, no_audio = (test[0].audio, None), (None, test[0].text)
    grpc: Protocol = "grpc"
    http: Protocol = "http"
    requests = [(grpc, r) for r in (*both, no_text, no_audio)] + [(http, r) for r in both]
    expected = pipeline([audio for _, (audio, _) in requests], [text for _, (_, text) in requests])
    answers = []
    with progress.stage("Ask the server", len(requests)) as stage:
        for protocol, (audio, text) in requests:
            answers.append(clients[protocol].predict(audio, text))
            stage.advance()
    pairs = list(zip(answers, expected, strict=True))
    compared = DemoTriton(
        version=clients["grpc"].server_version(),
        requests=len(requests),
        flips=sum(answer.label != prediction.label for answer, prediction in pairs),
        max_abs_diff=max(_largest_difference(*pair) for pair in pairs),
        without_text=answers[len(both)].label,
        without_audio=answers[len(both) + 1].label,
    )
    if compared.flips or not compared.max_abs_diff <= _SERVED_WITHIN:
        raise ParityError(
            f"Triton {compared.version}: expected the pipeline's labels and probabilities within "
            f"{_SERVED_WITHIN:g} for {compared.requests} requests, found {compared.flips} other "
            f"labels and {compared.max_abs_diff:.2g}"
        )
    return compared


def _measure(
    pipeline: Pipeline,
    clients: dict[Protocol, Client],
    test: Sequence[Utterance],
    progress: Progress,
) -> dict[str, dict[str, float]]:
    clips = [Clip(u.audio, u.text) for u in test]
    settings = LatencySettings(utterances=_MEASURED_UTTERANCES)
    stages: dict[str, LatencySummary] = dict(
        measure_pipeline(pipeline, clips, settings, progress).items()
    )
    for protocol, latencies in measure_triton(clients, clips, settings, progress).items():
        stages[f"triton_{protocol}"] = latencies["end_to_end"]
    return {
        name: {"p50": round(s.p50_ms, 3), "p95": round(s.p95_ms, 3), "p99": round(s.p99_ms, 3)}
        for name, s in stages.items()
    }


def _largest_difference(answer: ServedPrediction, prediction: Prediction) -> float:
    pairs = (list(answer.probabilities.values()), list(prediction.probabilities.values()))
    return float(np.abs(np.subtract(*pairs)).max())
