from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from pydantic import ValidationError
from tritonclient.grpc import model_config_pb2

from hemogat.contract import Precision
from hemogat.errors import BundleError, ConfigError, InputError
from hemogat.runtime.bundle import Bundle, sha256_of, write_sums
from hemogat.runtime.openvino_session import BF16_ROWS
from hemogat.serving.model_configs import model_configs
from hemogat.serving.repository import is_repository, write_repository
from hemogat.serving.repository_readme import IMAGE
from hemogat.serving.settings import BatchingSettings, RepositorySettings

GOLDEN = Path(__file__).parent / "golden"
MODELS = (
    "hemogat",
    "hemogat_stream",
    "hemogat_audio_encoder",
    "hemogat_text_encoder",
    "hemogat_fusion",
)


def read_config(repository: Path, model: str) -> model_config_pb2.ModelConfig:
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.fixture
def repository(tiny_bundle: Path, tmp_path: Path) -> Path:
    return write_repository(tiny_bundle, tmp_path / "models")


def test_what_is_written_parses_back_to_the_same_messages(
    repository: Path, tiny_bundle: Path
) -> None:
    configs = model_configs(Bundle.open(tiny_bundle), RepositorySettings())
    assert {config.name for config in configs} == set(MODELS)
    assert sorted(p.name for p in repository.iterdir()) == sorted(
        [*MODELS, "README.md", "SHA256SUMS"]
    )
    for config in configs:
        assert read_config(repository, config.name) == config
        model = repository / config.name / "1" / "model.py"
        assert "as TritonPythonModel" in model.read_text()


def test_tensors_follow_the_contract_and_the_bundle(repository: Path, tiny_bundle: Path) -> None:
    dims = Bundle.open(tiny_bundle).manifest.dims

    def tensors(model: str) -> dict[str, list[int]]:
        config = read_config(repository, model)
        return {tensor.name: list(tensor.dims) for tensor in (*config.input, *config.output)}

    assert tensors("hemogat") == {
        "AUDIO": [1], "TEXT": [1], "LABEL": [1], "PROBABILITIES": [3], "MODALITIES": [1],
    }  # fmt: skip
    assert tensors("hemogat_audio_encoder") == {"windows": [16000], "audio_embedding": [dims.audio]}
    assert tensors("hemogat_text_encoder") == {
        "input_ids": [-1], "attention_mask": [-1], "text_embedding": [dims.text],
    }  # fmt: skip
    assert tensors("hemogat_fusion") == {
        "audio_embedding": [dims.audio], "text_embedding": [dims.text], "present": [2],
        "probabilities": [3],
    }  # fmt: skip
    assert all(tensor.optional for tensor in read_config(repository, "hemogat").input)


def test_neighbours_leave_the_server_only_when_asked_for(tiny_bundle: Path, tmp_path: Path) -> None:
    settings = RepositorySettings(explain=True)
    explaining = write_repository(tiny_bundle, tmp_path / "models", settings)
    slots = Bundle.open(tiny_bundle).manifest.slots
    outputs = {tensor.name: tensor for tensor in read_config(explaining, "hemogat").output}
    assert list(outputs["NEIGHBOURS"].dims) == list(outputs["SIMILARITIES"].dims) == [slots]


def test_settings_reach_the_configuration(tiny_bundle: Path, tmp_path: Path) -> None:
    settings = RepositorySettings(
        instances=2, threads=3, max_rows=4, audio_encoder=BatchingSettings(
            max_batch_size=8, queue_delay_us=123
        )
    )  # fmt: skip
    out = write_repository(tiny_bundle, tmp_path / "models", settings)
    entry, encoder = read_config(out, "hemogat"), read_config(out, "hemogat_audio_encoder")
    assert entry.max_batch_size == 4
    assert entry.parameters["max_windows"].string_value == "8"
    assert encoder.max_batch_size == 8
    assert encoder.dynamic_batching.max_queue_delay_microseconds == 123
    assert encoder.parameters["threads"].string_value == "3"
    assert [group.count for group in encoder.instance_group] == [2]


def test_no_model_has_a_queue_policy(repository: Path) -> None:
    # With one, requests that come just as an instance finishes lie for 500 ms in Triton 2.51.
    for model in MODELS:
        assert not read_config(repository, model).dynamic_batching.HasField("default_queue_policy")


def test_every_token_bucket_is_warmed_up(repository: Path, tiny_bundle: Path) -> None:
    buckets = Bundle.open(tiny_bundle).manifest.text.token_buckets
    warmups = read_config(repository, "hemogat_text_encoder").model_warmup
    assert [list(warmup.inputs["input_ids"].dims) for warmup in warmups] == [[b] for b in buckets]


BACKENDS: dict[str, dict[str, Any]] = {
    "onnxruntime": {"backend": "onnxruntime", "threads": 2},
    "onnxruntime-gpu": {"backend": "onnxruntime", "device": "gpu"},
    "openvino": {"backend": "openvino", "threads": 2},
    "tensorrt": {"backend": "tensorrt", "device": "gpu"},
}
FILES = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.bin"), "trt": ("model.plan",)}


@pytest.fixture(scope="module")
def many_engines(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle that lists every engine; what stands for the graphs is never loaded."""
    bundle = shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("bundles") / "bundle")
    manifest = json.loads((bundle / "bundle.json").read_text())
    for model in list(manifest["models"]):
        for engine in ("openvino", "trt"):
            folder = f"{model['graph']}/{engine}-fp32"
            (bundle / folder).mkdir()
            for name in FILES[engine]:
                (bundle / folder / name).write_text(f"{model['graph']} {name}")
            path = f"{folder}/{FILES[engine][0]}"
            manifest["models"].append(model | {"engine": engine, "path": path})
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    write_sums(bundle)
    return bundle


@pytest.mark.parametrize(("precision", "halves"), [("fp32", 0), ("int8-bf16", 1), ("bf16", 3)])
def test_tritons_openvino_is_told_what_an_ir_is_marked_for(
    precision: Precision, halves: int, many_engines: Path, tmp_path: Path
) -> None:
    """A graph in bf16 gets batches no larger than our own session runs at once."""
    bundle = Path(shutil.copytree(many_engines, tmp_path / "bundle"))
    manifest = json.loads((bundle / "bundle.json").read_text())
    for model in manifest["models"]:
        if model["engine"] == "openvino":
            model["precision"] = precision
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    write_sums(bundle)
    settings = RepositorySettings(backend="openvino", precision=precision)
    out = write_repository(bundle, tmp_path / "models", settings)
    configs = {model: read_config(out, model) for model in MODELS}
    hints = {
        model: configs[model].parameters["INFERENCE_PRECISION_HINT"].string_value
        for model in MODELS[2:]
    }
    in_bf16 = [model for model, hint in hints.items() if hint == "bf16"]
    assert in_bf16 == list(hints)[:halves]
    assert [model for model in hints if configs[model].max_batch_size == BF16_ROWS] == in_bf16
    encoder = configs["hemogat_audio_encoder"]
    windows = configs["hemogat"].parameters["max_windows"].string_value
    assert windows == str(encoder.max_batch_size)
    assert configs["hemogat"].max_batch_size == (BF16_ROWS if halves == 3 else 16)


@pytest.mark.parametrize("name", BACKENDS)
def test_other_backends_get_the_configurations_on_record(
    name: str, many_engines: Path, tmp_path: Path
) -> None:
    settings = RepositorySettings(**BACKENDS[name], bundle_path=Path("/bundle"))
    out = write_repository(many_engines, tmp_path / "models", settings)
    sums = sha256_of(many_engines / "SHA256SUMS")
    written = "".join(
        f"# {model}\n{(out / model / 'config.pbtxt').read_text()}" for model in MODELS
    ).replace(sums, "SUMS")
    golden = GOLDEN / f"{name}.pbtxt"
    assert written == golden.read_text(), f"if this is meant, write it to {golden}"


@pytest.mark.parametrize("name", BACKENDS)
def test_other_backends_find_their_files(name: str, many_engines: Path, tmp_path: Path) -> None:
    settings = RepositorySettings(**BACKENDS[name])
    out = write_repository(many_engines, tmp_path / "models", settings)
    engine = {"onnxruntime": "onnx", "openvino": "openvino", "tensorrt": "trt"}[settings.backend]
    source = many_engines / "fusion" / f"{engine}-fp32"
    version = out / "hemogat_fusion" / "1"
    found = version / "model.onnx" if engine == "onnx" else version
    assert {p.name for p in found.iterdir()} == {p.name for p in source.iterdir()}
    for file in source.iterdir():
        assert (found / file.name).read_bytes() == file.read_bytes()
    assert (out / "hemogat" / "1" / "model.py").is_file()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"backend": "openvino", "engine": "onnx"}, "backend openvino runs engine openvino"),
        ({"backend": "tensorrt", "device": "cpu"}, "engine trt: expected device gpu, found cpu"),
        (
            {"backend": "openvino", "device": "gpu"},
            "engine openvino: expected device cpu, found gpu",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(raw: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RepositorySettings(**raw)


def test_an_engine_that_the_bundle_lacks_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="hemogat export --engine openvino"):
        write_repository(tiny_bundle, tmp_path / "models", RepositorySettings(backend="openvino"))
    assert not (tmp_path / "models").exists()


def readme(out: Path) -> str:
    """Return the README, its wrapped commands on one line each."""
    return " ".join((out / "README.md").read_text().replace("\\\n", "").split())


def test_the_readme_says_how_to_start_it(many_engines: Path, tmp_path: Path) -> None:
    settings = RepositorySettings(**BACKENDS["tensorrt"], bundle_path=Path("/bundle"))
    out = write_repository(many_engines, tmp_path / "my models", settings)
    text = readme(out)
    assert f"docker build -f serving/Dockerfile -t {IMAGE} ." in text
    assert "docker run --rm --gpus all --shm-size 1g --stop-timeout 45 -p 127.0.0.1:8000" in text
    assert f"--mount type=bind,source={many_engines},target=/bundle,readonly" in text
    assert f"--mount 'type=bind,source={out},target=/models,readonly' {IMAGE}" in text
    assert "hemogat serve `" not in text
    assert f"hemogat serve '{out}'" not in text


@pytest.mark.parametrize(
    ("settings", "extra"),
    [
        ({}, ""),
        ({"engine": "openvino"}, "openvino"),
        ({"engine": "trt"}, "trt"),
        ({"device": "gpu"}, "gpu"),
        ({"backend": "openvino"}, ""),
        ({"search": "auto"}, "cpu,search"),
        ({"engine": "openvino", "search": "auto"}, "openvino,search"),
        ({"engine": "trt", "search": "auto"}, "trt"),  # its plans have the bank inside
    ],
)
def test_the_readme_names_the_image_that_has_the_engine(
    many_engines: Path, tmp_path: Path, settings: dict[str, Any], extra: str
) -> None:
    out = write_repository(many_engines, tmp_path / "models", RepositorySettings(**settings))
    text = readme(out)
    image = f"{IMAGE}-{extra.replace(',', '-')}" if extra else IMAGE
    assert (f"--build-arg ENGINE={extra} -t {image} ." in text) == bool(extra)
    assert f"target=/models,readonly {image}" in text
    assert f"source={many_engines},target={many_engines}," in text
    assert (f"hemogat serve {out}" in text) == ("backend" not in settings)


def test_plans_are_run_on_a_gpu_unasked(many_engines: Path, tmp_path: Path) -> None:
    out = write_repository(many_engines, tmp_path / "models", RepositorySettings(engine="trt"))
    for model in MODELS[2:]:
        config = read_config(out, model)
        assert config.parameters["device"].string_value == "cuda"
        [group] = config.instance_group
        assert group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert "on GPU" in readme(out)


def test_nothing_is_written_for_a_device_that_the_engine_lacks(
    many_engines: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(many_engines, tmp_path / "bundle"))
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["models"] = [m for m in manifest["models"] if m["engine"] == "openvino"]
    (bundle / "bundle.json").write_text(json.dumps(manifest))
    write_sums(bundle)
    with pytest.raises(ConfigError, match="engine openvino: expected device cpu, found gpu"):
        write_repository(bundle, tmp_path / "models", RepositorySettings(device="gpu"))
    assert not (tmp_path / "models").exists()


def test_rows_that_the_fusion_model_cannot_take_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"fusion.max_batch_size \(32\) must reach max_rows"):
        RepositorySettings(max_rows=33)


def test_generating_again_replaces_everything(repository: Path, tiny_bundle: Path) -> None:
    stale = repository / "hemogat" / "stale"
    stale.touch()
    write_repository(tiny_bundle, repository, RepositorySettings(instances=2))
    assert not stale.exists()
    assert read_config(repository, "hemogat").instance_group[0].count == 2
    assert [path.name for path in repository.parent.iterdir()] == [repository.name]


def test_other_folders_are_not_replaced(tiny_bundle: Path, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.touch()
    with pytest.raises(InputError, match="exists already"):
        write_repository(tiny_bundle, tmp_path)
    assert list(tmp_path.iterdir()) == [precious]


def test_a_broken_bundle_leaves_the_earlier_repository(
    repository: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(tiny_bundle, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer\.json: is altered"):
        write_repository(broken, repository)
    assert read_config(repository, "hemogat").parameters["bundle"].string_value == str(tiny_bundle)
    with pytest.raises(BundleError, match="is not a bundle"):
        write_repository(tmp_path / "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_repository_is_told_from_other_folders(repository: Path, tiny_bundle: Path) -> None:
    assert is_repository(repository)
    assert not is_repository(tiny_bundle)
    assert not is_repository(repository / "nothing")


def test_an_engine_that_was_never_compared_is_warned_of(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_repository(tiny_bundle, tmp_path / "models")
    assert caplog.text == ""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "parity.json").write_text('{"reports": {}}')
    write_sums(bundle)
    write_repository(bundle, tmp_path / "models")
    assert "onnx-fp32 was built after the export and never compared" in caplog.text
