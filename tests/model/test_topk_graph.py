from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from hemogat.config import GraphConfig, HeadConfig
from hemogat.errors import ConfigError
from hemogat.model import topk_graph
from hemogat.model.bank import Embeddings, InductiveHead, freeze_bank
from hemogat.model.head import FusionHead
from hemogat.model.topk_graph import Neighbours, SearchTable, link_together, search_bank

Plain = Callable[..., list[tuple[int, float]]]
MODALITIES = ("audio", "text")


@dataclass(frozen=True)
class Corpus:
    """Utterances of which some are equal, some are zero and some lack a modality."""

    audio: NDArray[np.float32]
    text: NDArray[np.float32]
    present: NDArray[np.bool_]

    def of(self, modality: str) -> NDArray[np.float64]:
        return np.asarray(getattr(self, modality), np.float64)

    def rows(self, modality: str) -> list[int]:
        return [int(r) for r in np.flatnonzero(self.present[:, MODALITIES.index(modality)])]

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (
            torch.from_numpy(self.audio),
            torch.from_numpy(self.text),
            torch.from_numpy(self.present),
        )


@st.composite
def corpora(draw: st.DrawFn, min_size: int = 1, max_size: int = 12) -> Corpus:
    size = draw(st.integers(min_size, max_size))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    embeddings = []
    for width in (3, 5):
        distinct = draw(st.integers(1, 8))
        pool = random.standard_normal((distinct, width)).astype(np.float32)
        pool[0] *= draw(st.sampled_from([0.0, 1.0]))
        which = draw(st.lists(st.integers(0, distinct - 1), min_size=size, max_size=size))
        embeddings.append(pool[which])
    flags = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=size, max_size=size))
    return Corpus(embeddings[0], embeddings[1], np.array(flags))


@st.composite
def graphs(draw: st.DrawFn, corpus: Corpus, spare: int) -> GraphConfig:
    k = {f"k_{m}": draw(st.integers(0, max(0, len(corpus.rows(m)) - spare))) for m in MODALITIES}
    return GraphConfig(**k)


def tables(bank: Corpus) -> tuple[SearchTable, SearchTable]:
    audio, text, present = bank.tensors()
    return SearchTable.build(audio, present[:, 0]), SearchTable.build(text, present[:, 1])


def assert_is(found: Neighbours, expected: list[list[tuple[int, float]]]) -> None:
    index = [[row for row, _ in slots] for slots in expected]
    similarity = [[value for _, value in slots] for slots in expected]
    assert_array_equal(found.index, np.array(index, np.int64).reshape(found.index.shape))
    assert_allclose(
        found.similarity, np.array(similarity).reshape(found.similarity.shape), atol=1e-6
    )


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_search_bank_is_the_plain_definition(
    data: st.DataObject, plain_nearest_of_drawn: Plain, plain_union: Plain
) -> None:
    bank = data.draw(corpora())
    queries = data.draw(corpora(max_size=4))
    if data.draw(st.booleans()):  # queries that are bank rows: cosine 1, and as often as there
        queries = Corpus(
            bank.audio * 3, bank.text / 7, queries.present[:1].repeat(len(bank.text), 0)
        )
    graph = data.draw(graphs(bank, spare=0))

    found = search_bank(*queries.tensors(), *tables(bank), graph)

    expected = []
    for n, (has_audio, has_text) in enumerate(queries.present):
        a = plain_nearest_of_drawn(
            queries.of("audio")[n], bank.of("audio"), bank.rows("audio"), graph.k_audio
        )
        t = plain_nearest_of_drawn(
            queries.of("text")[n], bank.of("text"), bank.rows("text"), graph.k_text
        )
        expected.append(plain_union(a, t, has_audio, has_text))
    assert_is(found, expected)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_link_together_is_the_plain_definition_without_the_row_itself(
    data: st.DataObject, plain_nearest_of_drawn: Plain, plain_union: Plain
) -> None:
    corpus = data.draw(corpora(min_size=2))
    graph = data.draw(graphs(corpus, spare=1))
    searching = corpus.present & np.array(data.draw(st.tuples(st.booleans(), st.booleans())))

    found = link_together(*corpus.tensors(), graph, searching=torch.from_numpy(searching))

    expected = []
    for n, (has_audio, has_text) in enumerate(searching):
        slots = [
            plain_nearest_of_drawn(
                corpus.of(m)[n], corpus.of(m), [r for r in corpus.rows(m) if r != n], k
            )
            for m, k in (("audio", graph.k_audio), ("text", graph.k_text))
        ]
        expected.append(plain_union(*slots, has_audio, has_text))
    assert_is(found, expected)


@given(corpora(), st.data())
@settings(max_examples=30, deadline=None)
def test_an_answer_does_not_depend_on_the_batch(bank: Corpus, data: st.DataObject) -> None:
    queries = data.draw(corpora(min_size=2, max_size=9))
    graph = data.draw(graphs(bank, spare=0))
    together = search_bank(*queries.tensors(), *tables(bank), graph)
    for n in range(len(queries.text)):
        alone = search_bank(
            *(tensor[n : n + 1] for tensor in queries.tensors()), *tables(bank), graph
        )
        assert_allclose(alone.similarity, together.similarity[n : n + 1], atol=1e-6)


def test_twins_are_each_others_nearest_neighbour() -> None:
    # By rank (drop the first, keep the next k) row 0 would be row 1's self and never its neighbour.
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    present = torch.ones(4, 2, dtype=torch.bool)
    found = link_together(vectors, vectors, present, GraphConfig(k_audio=2, k_text=0))
    assert found.index.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_a_row_found_by_both_modalities_keeps_its_audio_slot() -> None:
    bank = Corpus(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.ones((3, 2), bool))
    query = torch.tensor([[1.0, 0.5, 0.1]])
    present = torch.ones(1, 2, dtype=torch.bool)
    found = search_bank(query, query, present, *tables(bank), GraphConfig(k_audio=1, k_text=2))
    assert found.index.tolist() == [[0, -1, 1]]
    assert found.similarity[0, 1] == 0


def test_a_row_that_only_an_absent_modality_would_find_again_is_kept() -> None:
    bank = Corpus(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.ones((3, 2), bool))
    query = torch.tensor([[1.0, 0.5, 0.1]])
    text_only = torch.tensor([[False, True]])
    found = search_bank(query, query, text_only, *tables(bank), GraphConfig(k_audio=1, k_text=2))
    assert found.index.tolist() == [[-1, 0, 1]]


def test_zero_vectors_are_similar_to_nothing_and_never_nan() -> None:
    bank = Corpus(
        np.zeros((4, 3), np.float32), np.eye(4, 3, dtype=np.float32), np.ones((4, 2), bool)
    )
    query = torch.zeros(2, 3)
    present = torch.ones(2, 2, dtype=torch.bool)
    found = search_bank(query, query, present, *tables(bank), GraphConfig(k_audio=2, k_text=4))
    assert_array_equal(found.similarity, np.zeros((2, 6)))
    assert_array_equal(found.index, [[0, 1, -1, -1, 2, 3]] * 2)


@pytest.mark.parametrize("length", [1e-9, 1e-3, 1.0, 1e15])
def test_a_similarity_is_a_cosine_whatever_the_lengths(length: float) -> None:
    bank = Corpus(
        np.array([[0, length], [2e-20, 0]], np.float32),
        np.eye(2, dtype=np.float32),
        np.ones((2, 2), bool),
    )
    query = torch.tensor([[3 * length, 4 * length]])
    present = torch.tensor([[True, False]])
    found = search_bank(query, query, present, *tables(bank), GraphConfig(k_audio=2, k_text=0))
    # The last row is shorter than the guard against division by zero, and counts as zero.
    assert found.index.tolist() == [[0, 1]]
    assert_allclose(found.similarity, [[0.8, 0.0]], atol=1e-6)


@given(
    values=st.lists(
        st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, -np.inf]), min_size=9, max_size=9),
        min_size=1,
        max_size=6,
    ),
    k=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_the_top_k_is_the_head_of_a_stable_sort(values: list[list[float]], k: int) -> None:
    similarities = torch.tensor(values)
    found, columns = topk_graph._top_k(similarities, k)
    expected = similarities.sort(dim=1, descending=True, stable=True)
    assert_array_equal(columns, expected.indices[:, :k])
    assert_array_equal(found, expected.values[:, :k])


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_a_large_graph_is_linked_in_parts(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    torch.manual_seed(0)
    corpus = (torch.randn(10, 4), torch.randn(10, 6), torch.rand(10, 2) < 0.8)
    graph = GraphConfig(k_audio=2, k_text=3)
    whole = link_together(*corpus, graph)
    monkeypatch.setattr(topk_graph, "_BLOCK_BYTES", at_once * 4 * 10)
    parts = link_together(*corpus, graph)
    assert_array_equal(parts.index, whole.index)
    assert_allclose(parts.similarity, whole.similarity, atol=1e-6)


def bank_of(audio_rows: int, text_rows: int, size: int = 6) -> Embeddings:
    torch.manual_seed(0)
    rows = torch.arange(size)
    present = torch.stack([rows < audio_rows, rows >= size - text_rows], dim=1)
    return Embeddings(torch.randn(size, 3), torch.randn(size, 5), present)


@pytest.mark.parametrize(
    ("graph", "rows", "message"),
    [
        (GraphConfig(k_audio=5, k_text=1), (5, 6), r"graph\.k_audio is 5, but only 4 utterances"),
        (GraphConfig(k_audio=1, k_text=6), (6, 6), r"graph\.k_text is 6, but only 5 utterances"),
        (GraphConfig(k_audio=1, k_text=1), (6, 0), r"graph\.k_text is 1, but only 0 utterances"),
    ],
)
def test_a_bank_too_small_for_k_is_refused(
    graph: GraphConfig, rows: tuple[int, int], message: str
) -> None:
    bank = bank_of(*rows)
    with pytest.raises(ConfigError, match=message):
        link_together(bank.audio, bank.text, bank.present, graph)
    head = FusionHead(3, 5, 2, HeadConfig(hidden=4, heads=2))
    with pytest.raises(ConfigError, match=message):
        freeze_bank(head, bank, graph)


def test_an_inductive_head_refuses_more_neighbours_than_its_bank_has() -> None:
    head = FusionHead(3, 5, 2, HeadConfig(hidden=4, heads=2))
    bank = freeze_bank(head, bank_of(5, 6), GraphConfig(k_audio=4, k_text=5))
    InductiveHead(head, bank, GraphConfig(k_audio=5, k_text=6))
    with pytest.raises(ConfigError, match=r"graph\.k_audio is 6, but only 5 utterances"):
        InductiveHead(head, bank, GraphConfig(k_audio=6, k_text=5))


@given(corpora(min_size=2), st.data())
@settings(max_examples=50, deadline=None)
def test_rows_without_a_modality_are_never_found_by_it(corpus: Corpus, data: st.DataObject) -> None:
    graph = data.draw(graphs(corpus, spare=1))
    assume(graph.slots > 0)
    index = link_together(*corpus.tensors(), graph).index.numpy()
    for column, (slots, m) in enumerate(
        ((index[:, : graph.k_audio], "audio"), (index[:, graph.k_audio :], "text"))
    ):
        assert set(slots[slots >= 0]) <= set(corpus.rows(m))
        assert (slots[~corpus.present[:, column]] == -1).all()
