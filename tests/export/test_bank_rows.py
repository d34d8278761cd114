from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from onnx import numpy_helper
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.config import GraphConfig, Recipe
from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.errors import BundleError, HemogatError, InputError
from hemogat.export.bank_effect import effect_on_rows, neighbours_but, take_neighbours
from hemogat.export.bank_rows import add_rows, prune, repeated_rows
from hemogat.model.bank import Bank, Embeddings, InductiveHead, freeze_bank
from hemogat.model.topk_graph import SearchTable, link_together, search_bank
from hemogat.progress import Progress
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.bundle import Bundle, sha256_of
from hemogat.runtime.fusion_inputs import fusion_feeds
from hemogat.runtime.golden import check_golden, read_golden
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.run_directory import RunDirectory

_WORDS = [
    "stop",
    "that",
    "right",
    "now",
    "the",
    "table",
    "is",
    "brown",
    "she",
    "left",
    "us",
    "alone",
]


@pytest.fixture(scope="module")
def extended(
    tiny_bundle: Path, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """Return the tiny bundle with new rows, every other one without text.

    No text is in the bank yet: of rows that are equal but for rounding, anyone may be found.
    """
    folder = tmp_path_factory.mktemp("extended")
    random = np.random.default_rng(0)
    rows = [
        replace(u, split="train", text=" ".join(random.permutation(_WORDS)) if n % 2 else None)
        for n, u in enumerate(
            u for u in read_manifest(tiny_manifest).utterances if u.split == "test"
        )
    ]
    write_manifest(folder / "new.csv", rows)
    return add_rows(Bundle.open(tiny_bundle), folder / "new.csv", folder / "bundle")


def hashes(folder: Path) -> dict[str, str]:
    return {str(p): sha256_of(p) for p in folder.rglob("*") if p.is_file()}


def test_added_rows_answer_as_in_torch(
    extended: Bundle, tiny_bundle: Path, tiny_run: Path, tiny_recipe: Recipe
) -> None:
    run, graph = RunDirectory.open(tiny_run), tiny_recipe.graph
    head = run.head().eval()
    old = freeze_bank(head, run.features("train").embeddings, graph)
    stored = map_tensors(extended.path / extended.manifest.bank.tensors)
    rows = len(old.embeddings)
    names = ("audio", "text", "present")
    e = Embeddings(*(torch.from_numpy(np.array(stored[name])) for name in names))
    new = e[rows:]
    tables = [
        SearchTable.build(x[:rows], e.present[:rows, n]) for n, x in enumerate((e.audio, e.text))
    ]
    found = search_bank(new.audio, new.text, new.present, *tables, graph)
    with torch.no_grad():
        states = head(new.audio, new.text, new.present, found.index, old.states).states
        joined = tuple(torch.cat(pair) for pair in zip(old.states, states, strict=True))
        for layer, expected in enumerate(joined):
            assert_allclose(stored[f"states_{layer}"], expected, atol=1e-5)
        before = map_tensors(tiny_bundle / "fusion/onnx-fp32/bank.safetensors")
        assert_array_equal(stored["states_0"][:rows], before["states_0"])
        asked = run.features("test").embeddings
        expected = InductiveHead(head, Bank(e, joined), graph).eval()(
            asked.audio, asked.text, asked.present
        )
    pairs = list(zip(asked.audio.numpy(), asked.text.numpy(), strict=True))
    answered = Pipeline(Bundle.open(extended.path)).fuse(pairs)
    assert_allclose(answered["probabilities"], expected.probabilities, atol=1e-5)
    assert (answered["neighbours"] >= rows).any()


def test_modalities_search_tables_of_their_own(tiny_bundle: Path, extended: Bundle) -> None:
    """Their rows are equal before and not after: the graph must not let them share."""
    tables = [f"inductive.{name}" for name in ("audio_table", "audio_rows", "text_table")]
    rows = []
    for path in (tiny_bundle, extended.path):
        graph = onnx.load(path / "fusion" / "onnx-fp32" / "model.onnx").graph
        (call,) = [node for node in graph.node if node.domain == "hemogat"]
        assert list(call.input[3:]) == [*tables, "inductive.text_rows"]
        arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer if "_rows" in t.name}
        rows.append([arrays[name].tolist() for name in (call.input[4], call.input[6])])
    assert [audio == text for audio, text in rows] == [True, False]


def test_an_extended_bundle_is_whole(extended: Bundle) -> None:
    opened = Bundle.open(extended.path)
    assert len(opened.bank_index.ids) == len(set(opened.bank_index.ids)) == 36
    assert opened.manifest.provenance.bank_changes == ("12 rows were added to 24",)
    assert check_golden(Pipeline(opened)) == 0


def test_keeping_all_rows_changes_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    before = hashes(tiny_bundle)
    kept = prune(bundle, 24, tmp_path / "kept")
    tensors = bundle.manifest.bank.tensors
    old, new = map_tensors(tiny_bundle / tensors), map_tensors(kept.path / tensors)
    assert old.keys() == new.keys()
    for name, value in old.items():
        assert_array_equal(value, new[name])
    assert kept.bank_index == bundle.bank_index
    assert hashes(tiny_bundle) == before


def test_pruning_keeps_every_label(extended: Bundle, tiny_manifest: Path, tmp_path: Path) -> None:
    arguments = ["bank", "prune", str(extended.path), "--to", "12", "--out", str(tmp_path / "new")]
    result = CliRunner().invoke(app, [*arguments, "--manifest", str(tiny_manifest), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["effect"]["utterances"] == 18
    assert found["bank_rows"]["utterances"] == 36
    assert found["golden"]["cases"] == len(read_golden(extended).cases)
    shown = CliRunner().invoke(app, ["bank", "info", str(tmp_path / "new"), "--json"])
    facts = json.loads(shown.stdout)
    assert facts["rows"] == 12
    assert facts["search_auto"] is None  # inside the graph
    assert set(facts["labels"].values()) == {4}


def test_nothing_is_pruned_whose_effect_cannot_be_measured(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pruned(*_: object) -> None:
        pytest.fail("the bundle was written")

    monkeypatch.setattr("hemogat.export.bank_rows.prune", pruned)
    manifest = tmp_path / "absent.csv"
    arguments = ["bank", "prune", str(tiny_bundle), "--to", "12", "--out", str(tmp_path / "new")]
    result = CliRunner().invoke(app, [*arguments, "--manifest", str(manifest)])
    assert result.exit_code == 1
    assert f"error: {manifest}" in result.output
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert "onnxruntime cannot be imported" in result.output


def test_rows_do_not_find_themselves() -> None:
    random = np.random.default_rng(0)
    audio, text = random.standard_normal((2, 30, 8)).astype(np.float32)
    audio[10:] = audio[:20]  # of two equal rows each finds the other
    present = random.random((30, 2)) < 0.8
    tensors = {"audio": audio, "text": text, "present": present}
    for column, name in enumerate(("audio", "text")):
        table = SearchTable.build(
            torch.from_numpy(tensors[name]), torch.from_numpy(present[:, column])
        )
        tensors |= {f"{name}_table": table.table.numpy(), f"{name}_rows": table.rows.numpy()}
    feeds = {"audio_embedding": audio, "text_embedding": text, "present": present}
    graph = GraphConfig(k_audio=3, k_text=4)
    found = neighbours_but(np.arange(30), feeds, tensors, graph)
    expected = link_together(*map(torch.from_numpy, (audio, text, present)), graph)
    assert_array_equal(np.sort(found[:, :3]), np.sort(expected.index[:, :3]))
    assert_array_equal(np.sort(found[:, 3:]), np.sort(expected.index[:, 3:]))


def test_the_effect_is_that_of_the_graph_that_searches(
    tiny_bundle: Path, tiny_run: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_bundle)
    same = effect_on_rows(bundle, bundle, Progress())
    assert same is not None
    assert (same.utterances, same.changed_decisions) == (24, 0)
    source = tiny_bundle / "fusion/onnx-fp32/model.onnx"
    given = OnnxSession(str(take_neighbours(source, tmp_path)))
    e = RunDirectory.open(tiny_run).features("test").embeddings
    feeds = fusion_feeds(list(zip(e.audio.numpy(), e.text.numpy(), strict=True)),
                         bundle.manifest.dims)  # fmt: skip
    expected = OnnxSession(str(source)).run(feeds)
    nobody = np.full(len(e), -1)
    bank = map_tensors(source.with_name("bank.safetensors"))
    found = neighbours_but(nobody, feeds, bank, bundle.manifest.graph)
    answered = given.run({**feeds, "neighbours": found})
    assert_allclose(answered["probabilities"], expected["probabilities"], atol=1e-5)


def test_a_manifest_that_is_added_twice_is_noticed(
    extended: Bundle, tiny_bundle: Path, tmp_path: Path
) -> None:
    assert repeated_rows(extended, 24) == 0
    manifest = str(extended.path.with_name("new.csv"))
    out = tmp_path / "twice"
    again = ["bank", "add", str(extended.path), manifest, "--out", str(out), "--json"]
    result = CliRunner().invoke(app, again)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["repeated"] == 12
    assert "12 of 12 new rows repeat one" in result.stderr


def test_failures_write_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, before = Bundle.open(tiny_bundle), hashes(tiny_bundle)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("audio,text,label,speaker,split\ngone.wav,hello,calm,s,train\n")
    with pytest.raises(HemogatError, match=r"gone\.wav"):
        add_rows(bundle, manifest, tmp_path / "new")
    with pytest.raises(InputError, match=r"--to: expected 3 .* to 24 rows, found 25"):
        prune(bundle, 25, tmp_path / "new")
    with pytest.raises(InputError, match="exists already"):
        prune(bundle, 12, tiny_bundle)
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.csv"]
    assert hashes(tiny_bundle) == before


@pytest.mark.parametrize("plans", [True, False])
def test_a_bundle_without_an_engine_that_embeds_is_refused(
    plans: bool, tiny_bundle: Path, extended: Bundle, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_bundle)
    as_plans = [model.model_copy(update={"engine": "trt"}) for model in bundle.manifest.models]
    left = {"models": tuple(as_plans) if plans else ()}
    bundle = Bundle(bundle.path, bundle.manifest.model_copy(update=left))
    with pytest.raises(BundleError, match="expected an engine onnx or openvino and the ONNX"):
        add_rows(bundle, extended.path.with_name("new.csv"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_changing_a_bank_takes_no_torch() -> None:
    modules = "hemogat.export.bank_rows, hemogat.export.bank_effect"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
