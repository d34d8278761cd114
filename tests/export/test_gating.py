from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.data.manifest import Utterance
from hemogat.export.gating import runs_in_place, utterances_to_judge
from hemogat.export_config import ExportConfig
from hemogat.training.run_directory import RunDirectory


class Splits:
    """A manifest of as many utterances as said, by split."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def split(self, name: str) -> tuple[Utterance, ...]:
        return tuple(
            Utterance(id=f"{name}-{n}", audio=None, text="t", label="sad", speaker="s", split=name)
            for n in range(self._counts[name])
        )


@pytest.mark.parametrize(
    ("val", "test", "splits", "source"),
    [
        (500, 900, {"val"}, "the val split"),
        (499, 500, {"test"}, "the test split"),
        (400, 400, {"val", "test"}, "the val and test splits"),
    ],
)
def test_what_was_trained_on_is_never_judged_on(
    val: int, test: int, splits: set[str], source: str, tiny_run: Path
) -> None:
    manifest = Splits(train=5000, val=val, test=test)
    judged = utterances_to_judge(RunDirectory.open(tiny_run), manifest, None)  # type: ignore[arg-type]
    assert {utterance.split for utterance in judged.utterances} == splits
    assert judged.source == source


def test_utterances_that_are_given_are_all_judged_on(tiny_run: Path, tiny_manifest: Path) -> None:
    judged = utterances_to_judge(RunDirectory.open(tiny_run), Splits(), tiny_manifest)  # type: ignore[arg-type]
    assert len(judged.utterances) == 42
    assert judged.source == "the utterances given"


@pytest.mark.parametrize(
    ("gpus", "providers", "emulated"),
    [
        (["a GPU"], ["CUDAExecutionProvider", "CPUExecutionProvider"], False),
        (["a GPU"], ["CPUExecutionProvider"], True),
        ([], ["CUDAExecutionProvider", "CPUExecutionProvider"], True),
    ],
)
def test_bf16_is_emulated_wherever_auto_is_the_cpu(
    gpus: list[str], providers: list[str], emulated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemogat.runtime.onnx_session.find_gpus", lambda: gpus)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: providers)
    config = ExportConfig(engine="onnx", precision="bf16", device="auto")
    assert (runs_in_place(config, built=True) is not None) == emulated
