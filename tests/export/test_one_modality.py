"""Runs of one modality: what they train, export and serve, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from hemogat.config import Recipe
from hemogat.contract import MODALITIES, Modality
from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.errors import BundleError, InputError
from hemogat.export.bank_rows import add_rows
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.golden import check_golden, golden_cases
from hemogat.runtime.manifest_prediction import predict_manifest
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.model_configs import model_configs
from hemogat.serving.settings import RepositorySettings
from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory
from hemogat.training.train import train


class Made(NamedTuple):
    """A run of one modality and its bundle."""

    modality: Modality
    manifest: Path
    run: RunDirectory
    bundle: Bundle


@pytest.fixture(scope="module", params=MODALITIES)
def made(
    request: pytest.FixtureRequest,
    tiny_recipe: Recipe,
    tiny_manifest: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Made:
    modality: Modality = request.param
    folder = tmp_path_factory.mktemp(modality)
    other = "text" if modality == "audio" else "audio"
    corpus = read_manifest(tiny_manifest, tiny_recipe.labels)
    manifest = folder / "manifest.csv"
    write_manifest(manifest, [replace(u, **{other: None}) for u in corpus.utterances])
    raw = tiny_recipe.model_dump()
    raw["seeds"] = 1
    raw["head"] |= {"modalities": modality, "modality_dropout": 0.0}
    run = train(Recipe.model_validate(raw), manifest, folder / "run")
    report = export_run(run.path, folder / "bundle", ExportConfig())
    return Made(modality, manifest, run, Bundle.open(report.bundle))


def test_only_what_the_modality_needs_is_made(made: Made) -> None:
    encoders = sorted(path.name for path in made.run.path.glob("*_encoder"))
    assert encoders == [f"{made.modality}_encoder"]
    assert sorted(made.run.record.heads) == ["full", "no_gnn"]
    manifest = made.bundle.manifest
    assert manifest.modalities == (made.modality,)
    assert {m.graph for m in manifest.models} == {f"{made.modality}_encoder", "fusion"}
    has_tokenizer = made.modality == "text"
    assert made.run.tokenizer_path.exists() == has_tokenizer
    assert (manifest.tokenizer is not None) == has_tokenizer


def test_it_is_evaluated_on_every_graph(made: Made) -> None:
    evaluation = evaluate_run(made.run)
    assert set(evaluation.graphs) == {"inductive", "transductive", "self_loop"}
    assert set(evaluation.controls) == {"no_gnn"}


def test_the_bundle_answers_as_the_reference_and_says_what_it_used(made: Made) -> None:
    pipeline = Pipeline(made.bundle, threads=1)
    assert check_golden(pipeline) < 1e-4
    case = golden_cases(made.bundle)[0]
    assert (case.audio is None) == (made.modality == "text")
    assert pipeline(case.audio, case.text).modalities == (made.modality,)


def test_a_request_with_the_other_modality_alone_is_refused(made: Made, tiny_clips: Path) -> None:
    pipeline = Pipeline(made.bundle, threads=1)
    expected = f"this model reads {made.modality} alone; send {made.modality}"
    audio, text = (None, "brown") if made.modality == "audio" else (tiny_clips / "sad-00.wav", None)
    with pytest.raises(InputError, match=expected):
        pipeline(audio, text)
    with pytest.raises(InputError, match=f"expected {made.modality}, found none"):
        pipeline()


def test_a_manifest_is_predicted_and_added_to_the_bank(made: Made, tmp_path: Path) -> None:
    found = predict_manifest(
        Pipeline(made.bundle, threads=1), made.manifest, tmp_path / "predicted.csv"
    )
    assert found.predicted == len(read_manifest(made.manifest).utterances)
    larger = add_rows(made.bundle, made.manifest, tmp_path / "larger")
    assert larger.manifest.bank.rows == made.bundle.manifest.bank.rows + found.predicted
    check_golden(Pipeline(Bundle.open(larger.path), threads=1))


def test_its_repository_has_the_one_encoder(made: Made) -> None:
    names = {config.name for config in model_configs(made.bundle, RepositorySettings())}
    assert f"hemogat_{made.modality}_encoder" in names
    assert len([name for name in names if name.endswith("_encoder")]) == 1


def test_the_graph_that_it_lacks_is_named(made: Made) -> None:
    lacking = "text_encoder" if made.modality == "audio" else "audio_encoder"
    with pytest.raises(BundleError, match=f"has no {lacking}"):
        made.bundle.graph_path(lacking, "onnx", "fp32")
