from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from hemogat.data.manifest import read_manifest, write_manifest
from hemogat.errors import BundleError, IncompleteError, InputError
from hemogat.export import bank_index
from hemogat.export.bank_index import INDEX_FILE, add_index, write_wanted_index
from hemogat.export.bank_rows import add_rows, prune
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.bundle import Bundle, sha256_of
from hemogat.runtime.gather_session import GatherSession
from hemogat.runtime.ivf_facts import IvfFacts, IvfFiles
from hemogat.runtime.parity_report import read_parity
from hemogat.training.head_names import FULL
from hemogat.training.run_directory import RECORD_FILE


def facts_of(bundle: Bundle) -> dict[str, IvfFacts]:
    assert bundle.manifest.bank.ivf is not None
    return bundle.manifest.bank.ivf.facts()


def test_the_index_is_all_that_is_new(
    tiny_gathered_bundle: Path, tiny_indexed_bundle: Path
) -> None:
    def hashes(path: Path) -> dict[str, str]:
        files = (p for p in path.rglob("*") if p.is_file())
        return {p.relative_to(path).as_posix(): sha256_of(p) for p in files}

    before, after = hashes(tiny_gathered_bundle), hashes(tiny_indexed_bundle)
    differs = {name for name in after if before.get(name) != after[name]}
    assert differs == {INDEX_FILE, "bundle.json", "SHA256SUMS"}
    bundle = Bundle.open(tiny_indexed_bundle)
    assert {name: facts.rows for name, facts in facts_of(bundle).items()} == {
        "audio": 24,
        "text": 24,
    }
    GatherSession(bundle, mode="ivf")


def test_indexing_again_writes_the_same(tiny_indexed_bundle: Path, tmp_path: Path) -> None:
    again = add_index(Bundle.open(tiny_indexed_bundle), tmp_path / "again")
    for name in (INDEX_FILE, "bundle.json"):
        assert sha256_of(again.path / name) == sha256_of(tiny_indexed_bundle / name)


def test_an_index_that_nothing_reads_is_refused(
    tiny_bundle: Path, tiny_indexed_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BundleError, match=r"no fusion_gather graph.* --gather"):
        add_index(Bundle.open(tiny_bundle), tmp_path / "new")
    with pytest.raises(ValidationError, match="ivf_index: expected gather: true"):
        ExportConfig(ivf_index=True)
    with pytest.raises(InputError, match="exists already"):
        add_index(Bundle.open(tiny_indexed_bundle), tmp_path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(IncompleteError, match=r"faiss .*\[search\]"):
        add_index(Bundle.open(tiny_indexed_bundle), tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_changed_bank_gets_an_index_of_its_own(
    tiny_indexed_bundle: Path, tiny_manifest: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_indexed_bundle)
    rows = [u for u in read_manifest(tiny_manifest).utterances if u.split == "test"]
    new = [replace(u, split="train", text=None if n % 2 else u.text) for n, u in enumerate(rows)]
    write_manifest(tmp_path / "new.csv", new)
    extended = add_rows(bundle, tmp_path / "new.csv", tmp_path / "extended")
    pruned = prune(extended, 12, tmp_path / "pruned")
    for path, audio, text in ((extended.path, 36, 30), (pruned.path, 12, None)):
        opened = Bundle.open(path)
        facts = facts_of(opened)
        assert facts["audio"].rows == audio
        assert text in (None, facts["text"].rows)
        old = facts_of(bundle)["audio"].embeddings_sha256
        assert facts["audio"].embeddings_sha256 != old
        GatherSession(opened, mode="ivf")


def test_without_faiss_a_changed_bank_has_no_index(
    tiny_indexed_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    pruned = prune(Bundle.open(tiny_indexed_bundle), 12, tmp_path / "pruned")
    assert Bundle.open(pruned.path).manifest.bank.ivf is None
    assert not (pruned.path / INDEX_FILE).exists()


def test_an_export_stores_it_and_a_second_one_keeps_it(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    export_run(tiny_run, out, ExportConfig(gather=True, ivf_index=True))
    first = Bundle.open(out)
    modes = [row.mode for row in read_parity(first).reports["onnx-fp32"].searches]
    assert "ivf" in modes
    digest = sha256_of(out / INDEX_FILE)
    monkeypatch.setitem(sys.modules, "faiss", None)  # which is not needed for it
    export_run(tiny_run, out, ExportConfig(engine="openvino"))
    second = Bundle.open(out)
    assert facts_of(second) == facts_of(first)
    assert sha256_of(out / INDEX_FILE) == digest
    export_run(tiny_run, out, ExportConfig(ivf_index=False))
    third = Bundle.open(out)
    assert third.manifest.bank.ivf is None
    assert not (out / INDEX_FILE).exists()


def test_an_earlier_index_stays_only_if_it_is_of_this_bank(
    tiny_indexed_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = Bundle.open(tiny_indexed_bundle)
    manifest = earlier.manifest
    bank, graph = tiny_indexed_bundle / manifest.bank.tensors, manifest.graph
    facts = facts_of(earlier)
    other = facts["text"].model_copy(update={"embeddings_sha256": "0" * 64})
    index = manifest.bank.ivf
    assert index is not None
    ivf = index.model_copy(update={"text": other})
    files = manifest.bank.model_copy(update={"ivf": ivf})
    of_another = Bundle(earlier.path, manifest.model_copy(update={"bank": files}))

    def written(bundle: Bundle) -> IvfFiles | None:
        return write_wanted_index(bank, graph, tmp_path, wanted=None, earlier=bundle)

    made = written(of_another)
    assert made is not None
    assert made.facts() == facts
    (tmp_path / INDEX_FILE).unlink()
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert written(of_another) is None
    assert not (tmp_path / INDEX_FILE).exists()
    assert written(earlier) == index
    assert sha256_of(tmp_path / INDEX_FILE) == sha256_of(tiny_indexed_bundle / INDEX_FILE)


def test_a_large_bank_gets_one_unasked(
    tiny_gathered_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(tiny_gathered_bundle)
    bank, graph = tiny_gathered_bundle / bundle.manifest.bank.tensors, bundle.manifest.graph

    def wanted() -> bool:
        found = write_wanted_index(bank, graph, tmp_path, wanted=None, earlier=bundle)
        return found is not None

    assert not wanted()
    monkeypatch.setattr(bank_index, "APPROXIMATE_FROM_ROWS", len(map_tensors(bank)["present"]))
    assert wanted()
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert not wanted()
    without = graph.model_copy(update={"k_audio": 0})
    monkeypatch.undo()
    found = write_wanted_index(bank, without, tmp_path, wanted=True)
    assert found is not None
    assert list(json.loads(found.model_dump_json(exclude_none=True))) == ["tensors", "text"]


def test_what_has_no_search_cannot_be_indexed(
    tiny_gathered_bundle: Path, tiny_run: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(tiny_gathered_bundle)
    manifest = bundle.manifest
    graph = manifest.graph.model_copy(update={"k_audio": 0, "k_text": 0})
    bank = tiny_gathered_bundle / manifest.bank.tensors
    message = "asks for no neighbours, so there is no search"
    with pytest.raises(InputError, match=message):
        write_wanted_index(bank, graph, tmp_path, wanted=True)
    assert write_wanted_index(bank, graph, tmp_path, wanted=None) is None
    without = Bundle(bundle.path, manifest.model_copy(update={"graph": graph}))
    with pytest.raises(InputError, match=message):
        add_index(without, tmp_path / "new")
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    record = json.loads((run / RECORD_FILE).read_text())
    record["heads"][FULL]["modules"] = "no_gnn"
    (run / RECORD_FILE).write_text(json.dumps(record))
    with pytest.raises(InputError, match=message):
        export_run(run, tmp_path / "new", ExportConfig(gather=True, ivf_index=True))
    assert not (tmp_path / "new").exists()
