"""The demo's serving half on a tiny bundle; all of it is `make demo`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from hemogat import demo
from hemogat.data.manifest import read_manifest
from hemogat.demo import _compare_with_server, _serve, _Timer
from hemogat.errors import ParityError
from hemogat.progress import Progress
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction import Prediction
from hemogat.serving.client import ServedPrediction


@pytest.mark.slow
def test_every_test_clip_is_asked_and_agrees(
    tiny_bundle: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    test, timer = read_manifest(tiny_manifest).split("test"), _Timer()
    found, latency_ms = _serve(tiny_bundle, tmp_path / "repository", test, timer, Progress())
    assert found.requests == 2 * len(test) + 2  # both protocols, and without each modality
    assert found.flips == 0
    assert found.max_abs_diff <= 1e-5
    assert found.version[0].isdigit()
    labels = Pipeline.load(tiny_bundle).labels
    assert {found.without_text, found.without_audio} <= set(labels)
    assert {"end_to_end", "triton_grpc", "triton_http"} <= latency_ms.keys()
    assert timer.duration_s.keys() == {"serve", "measure"}


class OtherAnswers:
    """A client of a server with another model."""

    def predict(self, audio: object, text: object) -> ServedPrediction:
        return ServedPrediction("sad", {"angry": 0.0, "calm": 0.0, "sad": 1.0}, ("text",), ())

    def server_version(self) -> str:
        return "0.0"


class Sure:
    """A pipeline that is sure of the opposite."""

    def __call__(self, audio: list[object], text: list[object]) -> list[Prediction]:
        probabilities = {"angry": 1.0, "calm": 0.0, "sad": 0.0}
        return [Prediction("angry", probabilities, ("text",), ())] * len(audio)


def test_a_server_that_disagrees_fails_the_demo(tiny_manifest: Path) -> None:
    test = read_manifest(tiny_manifest).split("test")
    clients = {"grpc": OtherAnswers(), "http": OtherAnswers()}
    with pytest.raises(ParityError, match=r"26 other labels"):
        _compare_with_server(Sure(), clients, test, Progress())


def test_a_second_demo_replaces_the_first_ones_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def train(*_: object, **options: object) -> None:
        asked.update(options)
        raise KeyboardInterrupt

    corpus = SimpleNamespace(manifest=None)
    for name, stand_in in {
        "find_tritonserver": lambda: None,
        "_make_corpus": lambda *_: (),
        "make_gate_corpus": lambda *_, **__: corpus,
        "train": train,
    }.items():
        monkeypatch.setattr(demo, name, stand_in)
    with pytest.raises(KeyboardInterrupt):
        demo.run_demo(tmp_path)
    assert asked == {"existing": "restart"}
