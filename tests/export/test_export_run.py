from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from hemogat.benchmarks.runners import BundleRunner
from hemogat.benchmarks.targets import BundleTarget, Case
from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.errors import BundleError, ConfigError, IncompleteError, InputError, ParityError
from hemogat.export import targets as export_module
from hemogat.export.bank_rows import prune
from hemogat.export.export_run import export_run
from hemogat.export.gating import manifest_of
from hemogat.export_config import ExportConfig
from hemogat.model.bank import freeze_bank
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.golden import check_golden
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.evaluation import evaluate_run
from hemogat.training.evaluation_record import Evaluation
from hemogat.training.evaluation_tables import (
    graph_gain_lines,
    per_class_table,
    recognition_table,
)
from hemogat.training.run_directory import RunDirectory

Change = Callable[[NDArray[Any]], NDArray[Any]]


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny run that a test may change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def edit_record(run: Path, change: Callable[[Any], None]) -> None:
    path = run / "run.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


def assert_nothing_was_written(place: Path, *, but: tuple[str, ...] = ()) -> None:
    """Neither a bundle nor the temporary folder that it grew in."""
    assert tuple(path.name for path in place.iterdir()) == but


def test_a_bundle_carries_its_reports_and_its_bank(tiny_bundle: Path, tiny_run: Path) -> None:
    run = RunDirectory.open(tiny_run)
    parity = json.loads((tiny_bundle / "parity.json").read_text())
    (report,) = parity["reports"].values()
    assert report["utterances"] == 18  # val and test are small, so both
    assert report["source"] == "the val and test splits"
    assert {row["flips"] for row in report["rows"]} == {None, 0}
    metrics = json.loads((tiny_bundle / "metrics.json").read_text())
    evaluation = Evaluation.model_validate(metrics)
    assert evaluation == evaluate_run(run)
    card = (tiny_bundle / "MODEL_CARD.md").read_text()
    for line in (*recognition_table(evaluation), *per_class_table(evaluation)):
        assert line in card
    assert graph_gain_lines(evaluation)[0] in card
    assert "0 of 54 decisions flipped" in card

    bundle = Bundle.open(tiny_bundle)
    stored = load_file(tiny_bundle / bundle.manifest.bank.tensors)
    bank = freeze_bank(run.head(), run.features("train").embeddings, run.record.recipe.graph)
    searched = {"audio_table", "audio_rows", "text_table", "text_rows"}
    known = {"audio", "text", "present", "states_0", "states_1", "states_2"}
    assert set(stored) == known | searched
    assert_allclose(stored["audio"], bank.embeddings.audio)
    assert_allclose(stored["text"], bank.embeddings.text)
    assert stored["present"].dtype == np.bool_
    for layer, states in enumerate(bank.states):
        assert_allclose(stored[f"states_{layer}"], states, atol=1e-6)


HEADS = {"audio_only": (2, 0), "text_only": (0, 3), "no_gnn": (0, 0)}


@pytest.mark.usefixtures("quick_encoders")
@pytest.mark.parametrize("head", HEADS)
def test_the_other_kinds_of_head_can_be_exported_and_served(
    head: str, run_copy: Path, tmp_path: Path, tiny_manifest: Path
) -> None:
    heads = run_copy / "heads"
    for seed in (0, 1):
        shutil.copy(
            heads / f"{head}-seed{seed}.safetensors", heads / f"full-seed{seed}.safetensors"
        )

    def export_this_one(raw: Any) -> None:
        raw["recipe"]["head"] = raw["heads"]["full"] = raw["heads"][head]
        raw["best_seed"] = 0

    edit_record(run_copy, export_this_one)
    report = export_run(run_copy, tmp_path / "bundle", ExportConfig())

    target = BundleTarget(path=report.bundle, engine="onnx", precision="fp32")
    for case in (Case(component="fusion"), Case(component="end_to_end")):
        BundleRunner(target, 1, "cpu").prepare(case)()  # it can be measured, too
    pipeline = Pipeline.load(report.bundle)
    assert check_golden(pipeline) < 1e-5
    assert report.parity.end_to_end.flips == 0
    graph = pipeline.bundle.manifest.graph
    assert (graph.k_audio, graph.k_text) == HEADS[head]
    clip = read_manifest(tiny_manifest).split("test")[0]
    both = pipeline(clip.audio, clip.text)
    k_audio, k_text = HEADS[head]
    assert [n.modality for n in both.neighbours].count("audio") == k_audio
    assert len(both.neighbours) <= k_audio + k_text
    if head == "audio_only":
        assert both.modalities == ("audio",)
        assert pipeline(clip.audio) == both == pipeline(clip.audio, "anything")
        with pytest.raises(InputError, match="reads audio alone; send audio"):
            pipeline(text=clip.text)
    elif head == "text_only":
        assert both.modalities == ("text",)
        assert pipeline(text=clip.text) == both == pipeline(b"not audio", clip.text)
        with pytest.raises(InputError, match="reads text alone; send text"):
            pipeline(clip.audio)
    else:
        assert both.modalities == ("audio", "text")


def silenced(value: NDArray[Any]) -> NDArray[Any]:
    return value * 0


def broken(value: NDArray[Any]) -> NDArray[Any]:
    return value * np.nan


@pytest.mark.usefixtures("quick_graphs")
@pytest.mark.parametrize("change", [silenced, broken])
def test_a_graph_that_is_not_the_reference_leaves_nothing_behind(
    change: Change,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change_weight: Callable[[Path, str, Change], None],
) -> None:
    export_fusion = export_module.export_fusion

    def tampered(*arguments: Any) -> Path:
        path = export_fusion(*arguments)
        change_weight(path, "mlp.4.weight", change)
        return path

    monkeypatch.setattr(export_module, "export_fusion", tampered)
    (tmp_path / "place").mkdir()
    with pytest.raises(ParityError, match="fusion logits over 18 utterances"):
        export_run(tiny_run, tmp_path / "place" / "bundle", ExportConfig())
    assert_nothing_was_written(tmp_path / "place", but=("bundle.parity.json",))
    report = json.loads((tmp_path / "place" / "bundle.parity.json").read_text())["reports"]
    assert report["onnx-fp32"]["utterances"] == 18


@pytest.mark.usefixtures("quick_graphs")
def test_a_refused_export_leaves_the_bundle_that_stands_there(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "place" / "bundle"))
    before = (out / "SHA256SUMS").read_bytes()
    strict = ExportConfig.model_validate({"parity": {"max_abs_diff": 1e-12}})
    with pytest.raises(ParityError):
        export_run(tiny_run, out, strict)
    assert (out / "SHA256SUMS").read_bytes() == before
    assert sorted(p.name for p in out.parent.iterdir()) == ["bundle", "bundle.parity.json"]
    Bundle.open(out)


@pytest.mark.usefixtures("quick_graphs")
def test_an_export_replaces_a_bundle_and_nothing_else(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_bundle, tmp_path / "place" / "bundle"))
    (out / "old.txt").write_text("of the bundle before")
    with pytest.raises(BundleError, match=r"old\.txt is not in SHA256SUMS"):
        export_run(tiny_run, out, ExportConfig())  # would keep what it cannot vouch for
    manifest = json.loads((out / "bundle.json").read_text())
    manifest["provenance"]["run_sha256"] = "of another run"
    (out / "bundle.json").write_text(json.dumps(manifest))
    export_run(tiny_run, out, ExportConfig())
    assert not (out / "old.txt").exists()
    assert [p.name for p in out.parent.iterdir()] == ["bundle"]
    check_golden(Pipeline.load(out))

    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists already"):
        export_run(tiny_run, precious, ExportConfig())
    assert (precious / "thesis.tex").read_text() == "years of work"


@pytest.mark.usefixtures("quick_graphs")
def test_a_bundle_whose_bank_was_changed_is_not_replaced(
    tiny_bundle: Path, tiny_run: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "bundle"
    prune(Bundle.open(tiny_bundle), 12, changed)
    before = (changed / "bundle.json").read_bytes()
    message = r"bundle: is a bundle whose bank was changed \(12 rows were kept of 24\).*--out"
    with pytest.raises(InputError, match=message):
        export_run(tiny_run, changed, ExportConfig())
    assert (changed / "bundle.json").read_bytes() == before
    assert_nothing_was_written(tmp_path, but=("bundle",))


def test_a_larger_k_than_the_bank_is_refused(run_copy: Path, tmp_path: Path) -> None:
    edit_record(run_copy, lambda raw: raw["recipe"]["graph"].update(k_text=24))
    (tmp_path / "place").mkdir()
    with pytest.raises(ConfigError, match=r"graph\.k_text is 24, but only 23 utterances"):
        export_run(run_copy, tmp_path / "place" / "bundle", ExportConfig())
    assert_nothing_was_written(tmp_path / "place")


@pytest.mark.usefixtures("quick_graphs")
def test_a_manifest_that_has_changed_is_refused(
    run_copy: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    utterances = read_manifest(tiny_manifest).utterances
    changed = tmp_path / "changed.csv"
    write_manifest(changed, utterances[:-1])
    edit_record(run_copy, lambda raw: raw.update(manifest=str(changed)))
    (tmp_path / "place").mkdir()
    with pytest.raises(InputError, match=r"changed\.csv: expected the 12 test utterances"):
        export_run(run_copy, tmp_path / "place" / "bundle", ExportConfig())
    assert_nothing_was_written(tmp_path / "place")


@pytest.mark.usefixtures("quick_graphs")
def test_a_run_can_be_exported_where_its_data_have_moved_to(
    run_copy: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "elsewhere" / "manifest.csv"
    edit_record(run_copy, lambda raw: raw.update(manifest=str(gone)))
    with pytest.raises(InputError, match=r"expected the manifest that .* with --manifest"):
        export_run(run_copy, tmp_path / "bundle", ExportConfig())
    here = Path(shutil.copytree(tiny_manifest.parent, tmp_path / "here"))
    moved = here / tiny_manifest.name
    found = manifest_of(RunDirectory.open(run_copy), moved)
    assert all(u.audio is not None and u.audio.parent == here for u in found.utterances)
    report = export_run(run_copy, tmp_path / "bundle", ExportConfig(), manifest=moved)
    assert report.parity.end_to_end.flips == 0


@pytest.mark.usefixtures("quick_encoders")
def test_utterances_without_a_modality_are_compared_too(
    run_copy: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    utterances = list(read_manifest(tiny_manifest).utterances)
    features = load_file(run_copy / "features.safetensors")
    for row in (0, 3, 10, 24):
        utterances[row] = replace(utterances[row], text=None)
        features["text"][row], features["present"][row, 1] = 0, False
    for row in (1, 11, 25):
        utterances[row] = replace(utterances[row], audio=None)
        features["audio"][row], features["present"][row, 0] = 0, False
    write_manifest(tmp_path / "holes.csv", utterances)
    save_file(features, run_copy / "features.safetensors")
    edit_record(run_copy, lambda raw: raw.update(manifest=str(tmp_path / "holes.csv")))

    report = export_run(run_copy, tmp_path / "bundle", ExportConfig())

    pipeline = Pipeline.load(report.bundle)
    assert check_golden(pipeline) < 1e-5
    present = load_file(report.bundle / pipeline.bundle.manifest.bank.tensors)["present"]
    assert torch.from_numpy(present).sum(dim=0).tolist() == [23, 22]
    for clip in utterances:
        if clip.split == "test":
            for neighbour in pipeline(clip.audio, clip.text).neighbours:
                assert present[neighbour.row, ("audio", "text").index(neighbour.modality)]


@pytest.mark.parametrize(
    ("config", "module"),
    [
        (ExportConfig(), "onnxruntime"),
        (ExportConfig(engine="openvino"), "openvino"),
        (ExportConfig(engine="openvino", precision="int8"), "nncf"),
    ],
    ids=str,
)
def test_what_converts_is_missed_before_anything_is_computed(
    config: ExportConfig, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(IncompleteError, match=rf"{module} .*pip install"):
        export_run(tmp_path / "no run", tmp_path / "bundle", config)
    assert_nothing_was_written(tmp_path)


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a run directory"):
        export_run(tmp_path, tmp_path / "bundle", ExportConfig())
    assert not (tmp_path / "bundle").exists()
