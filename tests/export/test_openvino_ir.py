from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hemogat.contract import FUSION
from hemogat.errors import BundleError, IncompleteError, InputError
from hemogat.export.openvino_ir import (
    compress_weights,
    convert,
    quantise_accuracy_aware,
    quantised_layers,
)
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.runtime.openvino_session import PRECISION_KEY, OpenVINOSession

Run = Callable[[Arrays], Arrays]
GRAPHS: tuple[GraphName, ...] = ("audio_encoder", "text_encoder", "fusion")


def feeds(graph: GraphName, batch: int, seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    if graph == "audio_encoder":
        return {"windows": random.standard_normal((batch, 16_000)).astype(np.float32)}
    if graph == "text_encoder":
        mask = np.ones((batch, 16), np.int64)
        mask[:, 5:] = 0
        return {"input_ids": random.integers(5, 40, (batch, 16)), "attention_mask": mask}
    return {
        "audio_embedding": random.standard_normal((batch, 16)).astype(np.float32),
        "text_embedding": random.standard_normal((batch, 16)).astype(np.float32),
        "present": random.random((batch, 2)) < 0.7,
    }


@pytest.fixture(scope="module")
def onnx_paths(tiny_bundle: Path) -> dict[GraphName, Path]:
    bundle = Bundle.open(tiny_bundle)
    return {graph: bundle.graph_path(graph, "onnx", "fp32") for graph in GRAPHS}


@pytest.fixture(scope="module")
def int8_encoder(
    onnx_paths: dict[GraphName, Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    calibration = [feeds("text_encoder", 1, seed) for seed in range(4)]
    folder = tmp_path_factory.mktemp("int8")
    return str(convert(onnx_paths["text_encoder"], folder, "int8", calibration))


@pytest.mark.parametrize("graph", GRAPHS)
def test_fp32_answers_as_onnx_runtime(
    onnx_paths: dict[GraphName, Path], tmp_path: Path, graph: GraphName
) -> None:
    before = sorted(path.name for path in onnx_paths[graph].parent.iterdir())
    path = convert(onnx_paths[graph], tmp_path / "ir", "fp32")
    assert sorted(path.name for path in onnx_paths[graph].parent.iterdir()) == before
    assert {file.name for file in (tmp_path / "ir").iterdir()} == {"model.xml", "model.bin"}
    openvino_session = OpenVINOSession(str(path), threads=1)
    assert openvino_session.inference_precision == "f32"
    onnx_session = OnnxSession(str(onnx_paths[graph]), threads=1)
    assert openvino_session.inputs == onnx_session.inputs
    assert openvino_session.outputs == onnx_session.outputs
    for batch in (1, 3, 2):
        given = feeds(graph, batch)
        expected, found = onnx_session.run(given), openvino_session.run(given)
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            assert_allclose(found[name], values, atol=1e-4, rtol=0)


def test_runs_do_not_share_answers(onnx_paths: dict[GraphName, Path], tmp_path: Path) -> None:
    session = OpenVINOSession(str(convert(onnx_paths["fusion"], tmp_path, "fp32")), threads=1)
    given = [feeds("fusion", 2, seed) for seed in range(8)]
    alone = [session.run(each)["logits"] for each in given]
    together: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        for _ in range(20):
            together[number] = session.run(given[number])["logits"]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(given))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, logits in enumerate(alone):
        assert_array_equal(together[number], logits)


def test_bf16_runs_where_the_processor_has_it_and_nowhere_else(
    onnx_paths: dict[GraphName, Path], tmp_path: Path
) -> None:
    path = str(convert(onnx_paths["text_encoder"], tmp_path, "bf16"))
    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        assert OpenVINOSession(path).inference_precision == "bf16"
    else:
        with pytest.raises(IncompleteError, match="is for bf16, which this CPU does not have"):
            OpenVINOSession(path)


def test_bf16_leaves_norms_sums_similarities_and_narrow_groups_in_fp32(
    onnx_paths: dict[GraphName, Path], tmp_path: Path
) -> None:
    def kept(graph: GraphName) -> set[str]:
        model = openvino.Core().read_model(convert(onnx_paths[graph], tmp_path / graph, "bf16"))
        return {
            node.get_type_name()
            for node in model.get_ops()
            if not {"precise_0", "DisablePrecisionConversion_0"}.isdisjoint(node.get_rt_info())
        }

    assert {"MVN", "Add", "GroupConvolution"} <= kept("audio_encoder")  # groups of one channel
    assert "Convolution" not in kept("audio_encoder")
    assert "MatMul" not in kept("text_encoder")
    assert "MatMul" in kept("fusion")


def test_bf16_is_near_and_the_same_in_every_batch(
    onnx_paths: dict[GraphName, Path], tmp_path: Path
) -> None:
    """The tiny encoder's convolution of one channel a group would never end in bf16."""
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    session = OpenVINOSession(str(convert(onnx_paths["audio_encoder"], tmp_path, "bf16")))
    given = feeds("audio_encoder", 40)
    found = session.run(given)["audio_embedding"]
    expected = OnnxSession(str(onnx_paths["audio_encoder"])).run(given)["audio_embedding"]
    assert 0 < np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    for row in range(40):
        alone = session.run({"windows": given["windows"][row : row + 1]})["audio_embedding"]
        assert_array_equal(alone[0], found[row])


def test_int8_with_bf16_is_marked_where_there_are_convolutions(
    onnx_paths: dict[GraphName, Path], int8_encoder: str, tmp_path: Path
) -> None:
    read = openvino.Core().read_model
    marks: dict[str, str] = {}
    for graph in GRAPHS[:2]:
        calibration = [feeds(graph, 1, seed) for seed in range(4)]
        path = convert(onnx_paths[graph], tmp_path / graph, "int8-bf16", calibration)
        model = read(path)
        assert quantised_layers(model)
        marks[graph] = model.get_rt_info(list(PRECISION_KEY)).value
    assert marks == {"audio_encoder": "bf16", "text_encoder": "f32"}
    text = read(tmp_path / "text_encoder" / "model.xml")
    assert quantised_layers(text) == quantised_layers(read(int8_encoder))


def test_int8_is_near_and_the_same_in_every_batch(
    onnx_paths: dict[GraphName, Path], int8_encoder: str
) -> None:
    session = OpenVINOSession(int8_encoder, threads=1)
    given = feeds("text_encoder", 4, seed=9)
    found = session.run(given)["text_embedding"]
    expected = OnnxSession(str(onnx_paths["text_encoder"])).run(given)["text_embedding"]
    assert 0 < np.abs(found - expected).max() < 0.2 * np.abs(expected).max()
    for row in range(4):
        alone = session.run({name: values[row : row + 1] for name, values in given.items()})
        assert_allclose(alone["text_embedding"][0], found[row], atol=1e-5)


def test_int8_needs_inputs(onnx_paths: dict[GraphName, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected inputs to calibrate on"):
        convert(onnx_paths["fusion"], tmp_path / "ir", "int8")
    assert not (tmp_path / "ir").exists()


def test_int8_fusion_finds_the_same_neighbours(
    onnx_paths: dict[GraphName, Path], tmp_path: Path
) -> None:
    path = compress_weights(onnx_paths["fusion"], tmp_path)
    assert quantised_layers(openvino.Core().read_model(path))
    given = feeds("fusion", 6, seed=3)
    session = OpenVINOSession(str(path))
    found = session.run(given)
    expected = OnnxSession(str(onnx_paths["fusion"])).run(given)
    assert_array_equal(found["neighbours"], expected["neighbours"])
    assert_allclose(found["similarities"], expected["similarities"], atol=1e-6)
    assert 0 < np.abs(found["logits"] - expected["logits"]).max() < 0.1
    for row in range(6):
        alone = session.run({name: values[row : row + 1] for name, values in given.items()})
        assert_allclose(alone["logits"][0], found["logits"][row], atol=1e-5)
    assert set(found) == {output.name for output in FUSION.outputs}


def test_layers_that_flip_decisions_are_put_back_and_named(
    onnx_paths: dict[GraphName, Path], int8_encoder: str, tmp_path: Path
) -> None:
    """What counts as kept: to be clearly nearer to the reference than full int8 is."""
    given = feeds("text_encoder", 4, seed=9)
    expected = OnnxSession(str(onnx_paths["text_encoder"])).run(given)["text_embedding"]

    def off(run: Run) -> float:
        return float(np.abs(run(given)["text_embedding"] - expected).max())

    of_int8 = off(OpenVINOSession(int8_encoder).run)

    def judge(run: Run) -> list[bool]:
        return [off(run) < 0.9 * of_int8]

    calibration = [feeds("text_encoder", 1, seed) for seed in range(4)]
    aware = quantise_accuracy_aware(
        onnx_paths["text_encoder"], tmp_path, calibration, judge, max_flip_rate=0.0
    )
    read = openvino.Core().read_model
    assert set(aware.restored) == quantised_layers(read(int8_encoder)) - quantised_layers(
        read(aware.path)
    )
    assert aware.restored
    assert judge(OpenVINOSession(str(aware.path)).run) == [True]


@pytest.mark.parametrize("content", [b"", b"<net>"])
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.xml"
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        OpenVINOSession(str(path))
    assert str(caught.value).startswith(f"{path}: OpenVINO cannot load it")
    assert "\n" not in str(caught.value)
