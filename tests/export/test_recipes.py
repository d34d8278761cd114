"""Every recipe under ``export/`` is valid and exports; the targets of one run add up."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from hemogat.config import load_settings, parse_settings
from hemogat.contract import Precision
from hemogat.errors import ConfigError, IncompleteError, InputError, ParityError
from hemogat.export.export_run import export_run
from hemogat.export.tensorrt_engine import missing_parts
from hemogat.export_config import ExportConfig, ParityConfig
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.golden import check_golden, read_golden
from hemogat.runtime.parity_report import never_compared, read_parity
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.run_directory import RECORD_FILE, RunDirectory

FOLDER = Path(__file__).parents[2] / "export"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
# A model of 16 numbers that was hardly trained flips decisions; the recipes' own limits are for
# real ones.
LENIENT = {"max_abs_diff": None, "min_cosine": None, "max_flip_rate": 1.0, "max_ua_change": 1.0}


def config_of(recipe: str) -> ExportConfig:
    config = load_settings(ExportConfig, FOLDER / f"{recipe}.yaml")
    parity = config.limits.model_copy(update=LENIENT)
    update = {"parity": parity, "calibration_utterances": 8, "allow_unjudged": True}
    tokens = config.tensorrt.tokens.model_copy(update={"largest": 32})
    update["tensorrt"] = config.tensorrt.model_copy(update={"tokens": tokens})
    return config.model_copy(update=update)


def test_recipes_name_the_targets_and_hold_the_default_limits() -> None:
    assert len(RECIPES) == 11
    for recipe in RECIPES:
        config = load_settings(ExportConfig, FOLDER / f"{recipe}.yaml")
        engine = {"trt": "tensorrt"}.get(config.engine, config.engine)
        assert recipe == f"{engine}-{config.precision}"
        assert config.limits == config.model_copy(update={"parity": None}).limits
        assert config.opset == config.onnx_opset


@pytest.mark.usefixtures("quick_graphs")
@pytest.mark.parametrize("recipe", [r for r in RECIPES if r != "onnx-fp32"])
def test_a_recipe_adds_its_engine_to_a_bundle(
    recipe: str, tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    config = config_of(recipe)
    target = f"{config.engine}-{config.precision}"
    if config.engine == "trt" and missing_parts():
        with pytest.raises(IncompleteError, match="no TensorRT plan was built"):
            export_run(tiny_run, out, config)
        assert (out / "build_engines.sh").is_file()
        for graph in ("audio_encoder", "text_encoder", "fusion"):
            assert (out / graph / target / "model.onnx").is_file()
        assert [m.engine for m in Bundle.open(out).manifest.models] == ["onnx"] * 3
        judged = read_parity(Bundle.open(out)).reports[target]
        assert judged.ungated is None
        assert judged.rows
        assert str(judged.stand_in).startswith("the typed graphs, in ONNX Runtime on the CPU")
        assert target in read_golden(Bundle.open(out)).own  # what a plan will be held to
        assert not list(out.glob(".stand-in*"))
        return
    report = export_run(tiny_run, out, config)
    bundle = Bundle.open(out)
    assert report.target == target
    assert {(m.engine, m.precision) for m in bundle.manifest.models} == {
        ("onnx", "fp32"),
        (config.engine, config.precision),
    }
    assert read_parity(bundle).reports[target] == report.parity
    check_golden(Pipeline(bundle))
    if report.parity.stand_in is not None:
        assert target == "onnx-bf16"
        assert report.parity.ungated is None
        assert report.parity.end_to_end.max_abs_diff > 1e-5
        with pytest.raises(IncompleteError, match="device cpu does not have all its operators"):
            Pipeline(bundle, engine=config.engine, precision=config.precision)
    elif report.parity.rows:
        assert report.parity.ungated is None
        check_golden(Pipeline(bundle, engine=config.engine, precision=config.precision))
        timed = {time.graph for time in report.parity.latency}
        assert timed == {m.graph for m in bundle.manifest.models}
    else:
        assert target in ("openvino-bf16", "openvino-int8-bf16")
        assert report.parity.ungated is not None
        assert "bf16" in report.parity.ungated


@pytest.mark.usefixtures("quick_graphs")
@pytest.mark.parametrize("precision", ["bf16", "int8-bf16"])
def test_an_engine_that_cannot_be_compared_is_not_handed_out_unless_told_to(
    precision: Precision,
    tiny_run: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_bf16(core: object, model: object, path: str) -> str:
        raise IncompleteError(f"{path}: is for bf16, which this CPU does not have")

    monkeypatch.setattr("hemogat.runtime.openvino_session._float_precision", no_bf16)
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    target = f"openvino-{precision}"
    config = config_of(target).model_copy(update={"allow_unjudged": False})
    with pytest.raises(IncompleteError, match=rf"{target} cannot be compared .*allow-unjudged"):
        export_run(tiny_run, out, config)
    assert Bundle.open(out).select("onnx", "fp32")
    assert {m.engine for m in Bundle.open(out).manifest.models} == {"onnx"}
    config = config.model_copy(update={"allow_unjudged": True})
    assert export_run(tiny_run, out, config).parity.rows == ()
    reason = never_compared(Bundle.open(out), "openvino", precision)
    assert reason is not None
    assert re.search(
        rf"was never compared: \w+/{target}/\S+: is for bf16, which this CPU does not", reason
    )


@pytest.mark.usefixtures("quick_graphs")
def test_a_bundle_of_another_run_is_replaced(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = run / "run.json"
    record.write_text(record.read_text() + "\n")
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    export_run(run, out, config_of("openvino-fp32"))
    bundle = Bundle.open(out)
    assert {(m.engine, m.precision) for m in bundle.manifest.models} == {("openvino", "fp32")}
    assert bundle.manifest.bank.tensors == "fusion/onnx-fp32/bank.safetensors"
    assert RunDirectory.open(run).record == RunDirectory.open(tiny_run).record


@pytest.mark.usefixtures("quick_graphs")
def test_a_refused_engine_leaves_the_others(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    strict = ExportConfig(precision="fp16", parity=ParityConfig())
    with pytest.raises(ParityError, match=r"onnx-fp16: .* the whole report is in .*parity\.json"):
        export_run(tiny_run, out, strict)
    assert {m.precision for m in Bundle.open(out).manifest.models} == {"fp32"}
    assert (tmp_path / "bundle.parity.json").is_file()


@pytest.mark.usefixtures("quick_graphs")
def test_random_weights_are_reported_and_not_judged(tiny_run: Path, tmp_path: Path) -> None:
    strict = ExportConfig(precision="fp16", parity=ParityConfig())
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = json.loads((run / RECORD_FILE).read_text()) | {"random_weights": True}
    (run / RECORD_FILE).write_text(json.dumps(record))
    report = export_run(run, tmp_path / "bundle", strict)
    assert report.parity.ungated == "the weights are random"
    assert report.parity.rows
    assert (
        "not judged: the weights are random; over" in (report.bundle / "MODEL_CARD.md").read_text()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"engine": "openvino", "precision": "fp16"},
            "expected precision fp32, bf16, int8, int8-bf16, found fp16",
        ),
        ({"engine": "onnx", "precision": "int8-bf16"}, "bf16, int8, found int8-bf16"),
        ({"engine": "openvino", "device": "cuda:1"}, r"that it runs on \(cpu\), found cuda:1"),
        ({"engine": "trt", "device": "cpu"}, r"a GPU: auto or cuda\[:n\]\), found cpu"),
    ],
)
def test_settings_that_an_engine_does_not_have_are_refused(
    settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^options: engine {settings['engine']}: .*{message}$"):
        parse_settings(ExportConfig, settings, source="options")


def test_audio_that_is_gone_is_named(tiny_manifest: Path, tiny_run: Path, tmp_path: Path) -> None:
    missing = tmp_path / "inputs.csv"
    missing.write_text("id,audio,text,label,speaker,split\na,gone.wav,words,sad,s,test\n")
    with pytest.raises(InputError, match=r"gone\.wav"):
        export_run(tiny_run, tmp_path / "bundle", ExportConfig(), inputs=missing)
