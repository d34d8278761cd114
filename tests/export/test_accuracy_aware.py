from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemogat.data.manifest import read_manifest
from hemogat.export.accuracy_aware import encoder_judges, utterances_to_rank_on
from hemogat.export.parity import Reference, reference_answers
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.progress import Progress
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.sessions import open_session
from hemogat.training.preparation import prepare_rows
from hemogat.training.run_directory import RunDirectory


@pytest.mark.parametrize("graph", ["audio_encoder", "text_encoder"])
def test_a_true_encoder_keeps_every_decision_and_a_dead_one_does_not(
    graph: GraphName, tiny_run: Path, tiny_bundle: Path, tiny_manifest: Path
) -> None:
    run, progress = RunDirectory.open(tiny_run), Progress()
    recipe, train = run.record.recipe, run.features("train")
    bank = freeze_bank(run.head(), train.embeddings, recipe.graph, labels=train.labels)
    head = InductiveHead(run.head(), bank, recipe.graph).eval()
    reference = Reference(run.audio_encoder(), run.text_encoder(), head)
    utterances = read_manifest(tiny_manifest).utterances
    rows = prepare_rows(utterances, recipe, run.tokenizer_path, progress)
    expected = reference_answers(reference, rows, 16_000, progress)
    judge = encoder_judges(reference, rows, expected, 16_000)[graph]

    session = open_session(Bundle.open(tiny_bundle), graph, engine="onnx", precision="fp32")
    assert list(judge(session.run)) == [True] * len(rows)
    # Embeddings turned round are far from anything that the head knows.
    turned = judge(lambda feeds: {n: -10 * v for n, v in session.run(feeds).items()})
    assert len(turned) == len(rows)
    assert np.mean(turned) < 1


def test_layers_are_ranked_on_what_the_gate_does_not_judge_on(tiny_manifest: Path) -> None:
    manifest = read_manifest(tiny_manifest)
    val, test = manifest.split("val"), manifest.split("test")
    assert utterances_to_rank_on(manifest, ()) == val
    assert utterances_to_rank_on(manifest, val[:1]) == test
    assert utterances_to_rank_on(manifest, (*val, *test)) == manifest.split("train")
