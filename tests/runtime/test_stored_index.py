from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file, save_file

from hemogat.errors import BundleError
from hemogat.export.bank_index import INDEX_FILE
from hemogat.runtime import bank_codes
from hemogat.runtime.bank_clusters import SMALLEST, cluster
from hemogat.runtime.bank_codes import IVFScan, recall_queries
from hemogat.runtime.bank_search import normalise
from hemogat.runtime.bundle import MANIFEST_FILE, Bundle, write_sums
from hemogat.runtime.gather_session import GatherSession
from hemogat.runtime.stored_index import index_tensors


@pytest.fixture
def indexed(tiny_indexed_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_indexed_bundle, tmp_path / "bundle"))


def clustered(seed: int, rows: int, dim: int = 24) -> Any:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((20, dim))[random.integers(20, size=rows)]
    return (centres + 0.7 * random.standard_normal((rows, dim))).astype(np.float32)


@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 300),
    kinds=st.integers(1, 300),
    zeros=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_every_row_lies_in_exactly_one_list(seed: int, rows: int, kinds: int, zeros: bool) -> None:
    random = np.random.default_rng(seed)
    embeddings = random.standard_normal((kinds, 6)).astype(np.float32)
    embeddings = embeddings[random.integers(kinds, size=rows + 5)] * (not zeros or seed % 2)
    having = np.sort(random.permutation(rows + 5)[:rows])
    lists = cluster(embeddings, having)
    parts = [
        lists.order[start:end]
        for start, end in zip(lists.offsets[:-1], lists.offsets[1:], strict=True)
    ]
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(rows))
    assert lists.problem(rows, 6) is None
    for number, part in enumerate(parts):
        assert_array_equal(lists.cluster_of()[part], number)
        assert (np.diff(part) > 0).all()


def test_the_stored_recall_is_what_a_search_finds() -> None:
    embeddings, rows = clustered(0, 3000), np.arange(0, 3000, 2)
    scan = IVFScan(embeddings, rows)
    facts = scan.facts
    units = normalise(embeddings[rows])

    def recall(draw: int) -> float:
        asking = recall_queries(len(rows), draw)
        cosines = units[asking] @ units.T
        cosines[np.arange(len(asking)), asking] = -np.inf
        expected = np.argsort(-cosines, axis=1)[:, :10]
        found = [scan.candidates(units[column], scan.first).columns for column in asking]
        return float(np.mean([np.isin(e, f) for e, f in zip(expected, found, strict=True)]))

    assert facts.recall == pytest.approx(recall(1))
    assert recall(0) >= 0.995  # which the clusters to look into are chosen by
    assert (facts.queries, facts.recall_at, facts.rows) == (128, 10, 1500)
    assert 1 <= facts.probes < facts.clusters == len(scan.lists.centroids)


@pytest.mark.parametrize("rows", [1, 24, 200, 300])
def test_recall_is_told_of_other_rows_than_chosen_by(rows: int) -> None:
    one, other = (recall_queries(rows, draw) for draw in (0, 1))
    assert len(one) == len(other) == min(rows, 128)
    assert all((np.diff(each) > 0).all() and each[-1] < rows for each in (one, other))
    assert len(np.intersect1d(one, other)) == max(0, 2 * len(one) - rows)


def test_a_stored_index_finds_what_a_built_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, rows = clustered(1, 2000), np.arange(2000)
    built = IVFScan(embeddings, rows)

    def never(*_: object) -> None:
        pytest.fail("clustered again")

    monkeypatch.setattr(bank_codes, "cluster", never)
    monkeypatch.setattr(IVFScan, "_measured", never)
    stored = IVFScan(embeddings, rows, built.lists, built.facts)
    assert stored.embeddings_sha256 == built.facts.embeddings_sha256
    for query in normalise(clustered(2, 20)):
        one, other = built.candidates(query, 128), stored.candidates(query, 128)
        assert_array_equal(one.columns, other.columns)
        assert_array_equal(one.scores, other.scores)


def test_loading_takes_the_stored_one_and_tells_what_it_finds(
    indexed: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def never(*_: object) -> None:
        pytest.fail("clustered again")

    monkeypatch.setattr(bank_codes, "cluster", never)
    bundle = Bundle.open(indexed)
    with caplog.at_level(logging.INFO):
        session = GatherSession(bundle, mode="ivf")
    index = bundle.manifest.bank.ivf
    assert index is not None
    lists = {name: scan.lists for name, scan in session.search.scans.items()
             if isinstance(scan, IVFScan)}  # fmt: skip
    stored = load_file(indexed / INDEX_FILE)
    assert stored.keys() == index_tensors(lists).keys()
    for name, tensor in index_tensors(lists).items():
        assert_array_equal(stored[name], tensor)
    for modality, facts in index.facts().items():
        words = f"search ivf by {modality}, index stored: {facts.probes} of {facts.clusters}"
        assert words in caplog.text
        assert f"recall {facts.recall:.4f} of the 10 nearest" in caplog.text
    GatherSession(bundle, mode="exact")  # without a look at the index


def test_without_a_stored_index_it_is_built(
    tiny_gathered_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = json.loads((tiny_gathered_bundle / MANIFEST_FILE).read_text())
    assert manifest["bank"].pop("ivf", None) is None
    with caplog.at_level(logging.INFO):
        GatherSession(Bundle.open(tiny_gathered_bundle), mode="ivf")
    assert "search ivf by audio, index built now: " in caplog.text


def test_a_flipped_byte_is_refused(indexed: Path) -> None:
    path = indexed / INDEX_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"ivf\.safetensors: is altered"):
        Bundle.open(indexed)
    path.unlink()
    with pytest.raises(BundleError, match=r"ivf\.safetensors: is missing"):
        Bundle.open(indexed)


def changed(name: str, tensor: Any, how: str) -> Any:
    """Return what is wrong of a tensor; what ``how`` says is expected to be found."""
    new = np.array(tensor)
    if how == "missing":
        return None
    if how == "shorter":
        return new[:-1].copy()
    if how == "other type":
        return new.astype(np.float16)
    new.reshape(-1)[0] = {"twice": new.reshape(-1)[-1], "below": -(2**40), "nan": np.nan}[how]
    return new


@pytest.mark.parametrize(
    ("name", "how", "problem"),
    [
        ("audio_order", "twice", "every row in exactly one list"),
        ("audio_order", "below", "every row in exactly one list"),
        ("text_order", "shorter", "expected 24 rows"),
        ("text_order", "other type", "has no int64 text_order"),
        ("audio_offsets", "below", "offsets that grow from 0 to 24"),
        ("audio_offsets", "shorter", "offsets that grow from 0 to 24"),
        ("text_centroids", "nan", "finite centroids"),
        ("text_centroids", "shorter", "offsets that grow from 0 to 24"),
        ("text_step", "nan", "a step above 0"),
        ("text_step", "shorter", "one number text_step"),
        ("audio_centroids", "missing", "has no float32 audio_centroids"),
    ],
)
def test_lists_that_do_not_fit_are_refused(
    indexed: Path, name: str, how: str, problem: str
) -> None:
    path = indexed / INDEX_FILE
    tensors = load_file(path)
    new = changed(name, tensors.pop(name), how)
    save_file(tensors if new is None else {**tensors, name: new}, path)
    write_sums(indexed)
    with pytest.raises(BundleError, match=rf"ivf\.safetensors: .*{problem}.*hemogat bank index"):
        GatherSession(Bundle.open(indexed), mode="ivf")


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (lambda right: right * 2, "is not that of the embeddings .largest code 6[34],"),
        (lambda right: right * 0.98, "is not that of the embeddings .largest code 130,"),
        (lambda right: SMALLEST, "is not that of the embeddings"),
        (lambda right: np.finfo(np.float32).max, "is not that of the embeddings .largest code 0,"),
        (lambda right: SMALLEST / 2, "expected a step above 0"),
        (lambda right: -right, "expected a step above 0"),
    ],
)
def test_a_step_that_is_not_of_the_embeddings_is_refused(
    indexed: Path, step: Callable[[float], float], problem: str
) -> None:
    path = indexed / INDEX_FILE
    tensors = load_file(path)
    tensors["text_step"] = np.array([step(float(tensors["text_step"][0]))], np.float32)
    save_file(tensors, path)
    write_sums(indexed)
    with pytest.raises(BundleError, match=rf"ivf\.safetensors: .*{problem}.*hemogat bank index"):
        GatherSession(Bundle.open(indexed), mode="ivf")


@pytest.mark.parametrize("content", [b"", b"no header", b"\x08" + bytes(7) + b"no json!"])
def test_a_file_that_is_no_index_is_to_be_made_anew(indexed: Path, content: bytes) -> None:
    (indexed / INDEX_FILE).write_bytes(content)
    write_sums(indexed)
    with pytest.raises(BundleError, match=r"is not an index's file .*hemogat bank index") as caught:
        GatherSession(Bundle.open(indexed), mode="ivf")
    assert "export again" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("rows", 23, "bundle.json tells of 23 rows"),
        ("probes", 99, "99 of them looked into"),
        ("embeddings_sha256", "0" * 64, "is of another bank by audio"),
        (None, None, "has no index by audio"),
    ],
)
def test_facts_that_do_not_fit_are_refused(
    indexed: Path, key: str | None, value: object, problem: str
) -> None:
    path = indexed / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    if key is None:
        manifest["bank"]["ivf"]["audio"] = None
    else:
        manifest["bank"]["ivf"]["audio"][key] = value
    path.write_text(json.dumps(manifest))
    write_sums(indexed)
    with pytest.raises(BundleError, match=rf"ivf\.safetensors: .*{problem}"):
        GatherSession(Bundle.open(indexed), mode="ivf")


def test_the_index_of_another_bank_is_refused(indexed: Path) -> None:
    bank = indexed / Bundle.open(indexed).manifest.bank.tensors
    tensors = load_file(bank)
    tensors["audio"] = tensors["audio"][::-1].copy()  # as many rows, as large
    save_file(tensors, bank)
    write_sums(indexed)
    with pytest.raises(BundleError, match=r"ivf\.safetensors: is of another bank by audio"):
        GatherSession(Bundle.open(indexed), mode="ivf")
