from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hemogat.config import Recipe
from hemogat.errors import BundleError
from hemogat.export.gathered_graphs import export_fusion_gather
from hemogat.model.bank import freeze_bank
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.fusion_inputs import fusion_feeds
from hemogat.runtime.gather_session import GatherSession
from hemogat.runtime.sessions import open_session
from hemogat.training.run_directory import RunDirectory


def test_a_bank_outside_the_graph_answers_as_the_one_inside(
    tiny_bundle: Path, tiny_run: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    run, bundle = RunDirectory.open(tiny_run), Bundle.open(tiny_bundle)
    with pytest.raises(BundleError, match=r"has no fusion_gather graph .* --gather"):
        GatherSession(bundle)
    train, head = run.features("train"), run.head()
    bank = freeze_bank(head, train.embeddings, tiny_recipe.graph)
    path = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    export_fusion_gather(head, bank, tiny_recipe.graph, path / "bank" / "gather", 20)
    files = bundle.manifest.bank.model_copy(update={"gather": "bank/gather/model.onnx"})
    manifest = bundle.manifest.model_copy(update={"bank": files})

    asked = run.features("test").embeddings
    pairs = list(zip(asked.audio.numpy(), asked.text.numpy(), strict=True))
    feeds = fusion_feeds([*pairs, (pairs[0][0], None)], manifest.dims)
    expected = open_session(bundle, "fusion").run(feeds)
    session = GatherSession(Bundle(path, manifest), mode="int8")
    found = session.run(feeds)
    assert session.inputs == tuple(feeds)
    assert session.outputs == tuple(expected)
    assert_array_equal(found["neighbours"] == -1, expected["neighbours"] == -1)
    for name in ("probabilities", "similarities", "attention"):
        assert_allclose(found[name], expected[name], atol=1e-5)
    assert np.isfinite(found["logits"]).all()
