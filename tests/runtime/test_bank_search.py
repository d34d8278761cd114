from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from hemogat.config import GraphConfig
from hemogat.contract import SearchMode
from hemogat.errors import ConfigError
from hemogat.model.topk_graph import SearchTable, search_bank
from hemogat.runtime.bank_codes import IVFScan
from hemogat.runtime.bank_search import BankSearch, Candidates, Floats, normalise

GRAPH = GraphConfig(k_audio=4, k_text=5)


def bank(audio: Any, text: Any, present: Any) -> dict[str, Any]:
    tensors: dict[str, Any] = {"audio": audio, "text": text, "present": present}
    for column, name in enumerate(("audio", "text")):
        table = SearchTable.build(
            torch.from_numpy(tensors[name]), torch.from_numpy(present[:, column])
        )
        tensors |= {f"{name}_table": table.table.numpy(), f"{name}_rows": table.rows.numpy()}
    return tensors


def in_torch(tensors: dict[str, Any], *queries: Any) -> Any:
    tables = [
        SearchTable(*(torch.from_numpy(tensors[f"{name}_{part}"]) for part in ("table", "rows")))
        for name in ("audio", "text")
    ]
    return search_bank(*map(torch.from_numpy, queries), *tables, GRAPH)


@pytest.mark.parametrize("mode", ["exact", "int8"])
@given(seed=st.integers(0, 2**31), rows=st.integers(20, 600), kinds=st.integers(1, 40))
@settings(max_examples=20, deadline=None)
def test_exact_modes_answer_as_torch_with_ties(
    mode: SearchMode, seed: int, rows: int, kinds: int
) -> None:
    # Signs in 16 and 4 dimensions: lengths are powers of two, so that no sum is ever rounded.
    random = np.random.default_rng(seed)

    def signs(count: int, dim: int) -> Any:
        return random.choice([-1.0, 1.0], (count, dim)).astype(np.float32)

    chosen = random.integers(kinds, size=(2, rows))
    present = random.random((rows, 2)) < 0.8
    present[:8] = True
    tensors = bank(signs(kinds, 16)[chosen[0]], signs(kinds, 4)[chosen[1]], present)
    queries = (signs(3, 16), signs(3, 4), np.array([[True, True], [True, False], [False, True]]))
    found, expected = BankSearch(tensors, GRAPH, mode=mode)(*queries), in_torch(tensors, *queries)
    assert_array_equal(found.index, expected.index)
    assert_allclose(found.similarity, expected.similarity, atol=1e-6)


@pytest.mark.parametrize("mode", ["exact", "int8"])
def test_outliers_do_not_make_it_inexact(mode: SearchMode) -> None:
    random = np.random.default_rng(0)
    audio, text = random.standard_normal((2, 3000, 32)).astype(np.float32)
    audio[:, 3] += 30  # one dimension holds nearly all the length: 8 bits tell little of the rest
    tensors = bank(audio, text, np.ones((3000, 2), np.bool_))
    queries = (audio[:4] + 0.1, text[:4] + 0.1, np.ones((4, 2), np.bool_))
    found, expected = BankSearch(tensors, GRAPH, mode=mode)(*queries), in_torch(tensors, *queries)
    assert_allclose(found.similarity, expected.similarity, atol=1e-6)


@pytest.mark.parametrize("mode", ["exact", "int8"])
def test_what_is_absent_is_not_searched_for(
    mode: SearchMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zeros are as near to one row as to any other: the search would end with the whole bank."""
    random = np.random.default_rng(0)
    audio, text = random.standard_normal((2, 3000, 32)).astype(np.float32)
    tensors = bank(audio, text, np.ones((3000, 2), np.bool_))
    present = np.array([[True, True], [False, True], [True, False], [False, False]])
    queries = [(rows[:4] + 0.1) * present[:, [n]] for n, rows in enumerate((audio, text))]
    search = BankSearch(tensors, GRAPH, mode=mode)
    asked: dict[str, list[int]] = {}
    for name, scan in search.scans.items():
        counts = asked.setdefault(name, [])
        counting = partial(counted, scan.candidates, counts)
        monkeypatch.setattr(scan, "candidates", counting)
    found = search(*(q.astype(np.float32) for q in queries), present)
    assert all(asked.values())
    assert max(count for counts in asked.values() for count in counts) < 3000
    for row, slots in ((1, slice(0, 4)), (2, slice(4, 9)), (3, slice(0, 9))):
        assert (found.index[row, slots] == -1).all()
        assert (found.similarity[row, slots] == 0).all()
    assert (found.index[0] >= 0).sum() >= 5


def counted(
    candidates: Callable[[Floats, int], Candidates], counts: list[int], query: Floats, count: int
) -> Candidates:
    counts.append(count)
    return candidates(query, count)


def test_clusters_are_found_and_recall_is_measured() -> None:
    random = np.random.default_rng(0)
    centres = random.standard_normal((20, 32))[random.integers(20, size=4000)]
    rows = (centres + 0.4 * random.standard_normal((4000, 32))).astype(np.float32)
    tensors = bank(rows[:3900], rows[:3900], np.ones((3900, 2), np.bool_))
    search = BankSearch(tensors, GRAPH, mode="ivf")
    queries = (rows[3900:], rows[3900:], np.ones((100, 2), np.bool_))
    found = search(*queries).index[:, :4]
    exact = np.argsort(-(normalise(queries[0]) @ tensors["audio_table"]), axis=1)[:, :4]
    hits = np.mean([np.isin(e, f).mean() for e, f in zip(exact, found, strict=True)])
    assert hits >= 0.97
    scan = search.scans["audio"]
    assert isinstance(scan, IVFScan)
    assert scan.facts.recall >= 0.99
    assert scan.facts.probes < scan.facts.clusters


def test_too_small_a_bank_is_refused() -> None:
    tensors = bank(np.ones((3, 2), "f4"), np.ones((3, 2), "f4"), np.ones((3, 2), np.bool_))
    with pytest.raises(ConfigError, match="k_audio is 4, but the bank has 3 rows with audio"):
        BankSearch(tensors, GRAPH, mode="exact")
