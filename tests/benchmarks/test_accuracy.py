from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hemogat.benchmarks.accuracy import evaluate_bundle
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
    assert found.split == split
    assert found.labels == expected.labels
    assert found.graphs == {"inductive": expected.graphs["inductive"]}
    assert found.controls == {}


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
