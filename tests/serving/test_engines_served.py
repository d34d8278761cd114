"""One bundle with two engines, each behind a real tritonserver's Python backend: one answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hemogat.contract import Engine
from hemogat.export.openvino_ir import IR_FILE, convert
from hemogat.runtime.bundle import MANIFEST_FILE, write_sums
from hemogat.serving.client import Client, ServedPrediction
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

TEXTS = ("stop that right now", None, "she left us alone " * 5)


@pytest.fixture(scope="module")
def two_engines(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("engines") / "bundle"))
    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    for model in list(manifest["models"]):
        folder = f"{model['graph']}/openvino-fp32"
        convert(bundle / model["path"], bundle / folder, "fp32")
        manifest["models"].append(model | {"engine": "openvino", "path": f"{folder}/{IR_FILE}"})
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    write_sums(bundle)
    return bundle


def test_onnx_and_openvino_answer_alike(
    two_engines: Path, tiny_clips: Path, tmp_path: Path
) -> None:
    clips = sorted(tiny_clips.glob("*.wav"))[::8]
    texts = [TEXTS[number % len(TEXTS)] for number in range(len(clips))]

    def answers(engine: Engine) -> list[ServedPrediction]:
        settings = RepositorySettings(engine=engine, threads=1, explain=True)
        models = write_repository(two_engines, tmp_path / engine, settings)
        with TritonServer(models) as server, Client(server.grpc_url) as client:
            return client.predict_many([*clips, None], [*texts, "the table is brown"])

    for by_onnx, by_openvino in zip(answers("onnx"), answers("openvino"), strict=True):
        assert by_onnx.label == by_openvino.label
        assert by_onnx.modalities == by_openvino.modalities
        assert {n.row for n in by_onnx.neighbours} == {n.row for n in by_openvino.neighbours}
        np.testing.assert_allclose(
            list(by_openvino.probabilities.values()),
            list(by_onnx.probabilities.values()),
            rtol=0,
            atol=1e-4,
        )
