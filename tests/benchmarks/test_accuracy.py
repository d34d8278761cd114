from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemogat.benchmarks.accuracy import answer_split_by_bundle, evaluate_bundle
from hemogat.data.manifest import ManifestError, Split, read_manifest, write_manifest
from hemogat.errors import InputError
from hemogat.training.evaluation import evaluate_run
from hemogat.training.run_directory import RunDirectory


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_bundle_recognises_what_its_run_does(
    tiny_bundle: Path, tiny_run: Path, tiny_manifest: Path, split: Split
) -> None:
    found = evaluate_bundle(tiny_bundle, tiny_manifest, split)
    expected = evaluate_run(RunDirectory.open(tiny_run), split)
    assert (found.name, found.split, found.labels) == ("tiny", split, expected.labels)
    assert found.best_seed == expected.best_seed
    served = [row for row in expected.rows if (row.head, row.graph) == ("full", "inductive")]
    assert [row.inputs for row in found.rows] == [row.inputs for row in served]
    for row, its_run in zip(found.rows, served, strict=True):
        assert row.confusion == its_run.confusion
        for name, figure in row.figures.items():
            assert figure.mean == pytest.approx(its_run.figures[name].best, abs=1e-5)
            assert figure.high is None
    assert (found.graph_gain, found.controls) == (None, {})


def test_the_features_are_the_embeddings(
    tiny_bundle: Path, tiny_run: Path, tiny_manifest: Path
) -> None:
    both, audio, _ = answer_split_by_bundle(tiny_bundle, tiny_manifest, "val").rows
    e = RunDirectory.open(tiny_run).features("val").embeddings
    np.testing.assert_allclose(both.features, np.hstack([e.audio, e.text]), atol=1e-4)
    np.testing.assert_allclose(audio.features[:, : e.audio.shape[1]], e.audio, atol=1e-4)
    assert not audio.features[:, e.audio.shape[1] :].any()


def test_an_empty_split_is_refused(tiny_bundle: Path, tiny_manifest: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "train.csv"
    write_manifest(manifest, read_manifest(tiny_manifest).split("train"))
    with pytest.raises(InputError, match=r"train\.csv: has no utterances in split 'test'"):
        evaluate_bundle(tiny_bundle, manifest, "test")


def test_a_label_that_the_bundle_does_not_know_is_refused(
    tiny_bundle: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "bored.csv"
    utterances = read_manifest(tiny_manifest).utterances
    write_manifest(manifest, [replace(u, label="bored") for u in utterances])
    with pytest.raises(ManifestError, match="'bored' is unknown"):
        evaluate_bundle(tiny_bundle, manifest, "test")
