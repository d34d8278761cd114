from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hemogat.errors import ParityError
from hemogat.export.parity_gate import gate
from hemogat.export.search_parity import compare_searches
from hemogat.export_config import ParityConfig
from hemogat.model.bank import Embeddings
from hemogat.runtime import gather_session
from hemogat.runtime.bank_search import BankSearch, Neighbours
from hemogat.runtime.gather_session import installed_searches
from hemogat.runtime.parity_report import ParityReport, SearchRow
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def asked(tiny_run: Path) -> Embeddings:
    return RunDirectory.open(tiny_run).features("test").embeddings


def report_of(rows: tuple[SearchRow, ...], limits: ParityConfig | None = None) -> ParityReport:
    return ParityReport(
        utterances=100,
        enough_for_rates=False,
        limits=limits or ParityConfig(),
        rows=(),
        searches=rows,
    )


def test_every_way_to_search_is_compared_with_the_graph(
    tiny_gathered_bundle: Path, tiny_bundle: Path, asked: Embeddings
) -> None:
    found = tuple(compare_searches(Pipeline.load(tiny_gathered_bundle), asked))
    assert tuple(row.mode for row in found) == installed_searches()
    for row in found:
        assert (row.flips, row.recall) == (0, 1.0)
        assert row.max_abs_diff < 1e-5
    gate(report_of(found))
    assert not list(compare_searches(Pipeline.load(tiny_bundle), asked))


def test_a_search_that_misses_neighbours_is_noticed(
    tiny_gathered_bundle: Path, asked: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worst(BankSearch):
        def __call__(
            self,
            audio: NDArray[np.float32],
            text: NDArray[np.float32],
            present: NDArray[np.bool_],
        ) -> Neighbours:
            found = super().__call__(-audio, -text, present)
            return replace(found, similarity=-found.similarity)

    monkeypatch.setattr(gather_session, "BankSearch", Worst)
    rows = tuple(compare_searches(Pipeline.load(tiny_gathered_bundle), asked))
    assert all(row.recall < 0.5 for row in rows)
    with pytest.raises(ParityError, match=r"^search exact .* at least 0.99 of the neighbours"):
        gate(report_of(rows))


def test_what_a_search_may_flip() -> None:
    def row(mode: str, flips: int, recall: float = 1.0) -> tuple[SearchRow, ...]:
        values = {"mode": mode, "flips": flips, "max_abs_diff": 0.1, "recall": recall}
        return (SearchRow.model_validate(values),)

    gate(report_of(row("ivf", 1, recall=0.99)))
    gate(report_of(row("int8", 2), ParityConfig(max_flip_rate=0.02)))
    for refused in (row("int8", 1), row("exact", 1), row("ivf", 2)):
        with pytest.raises(ParityError, match=r"search \w+ over 100 utterances: .* flipped"):
            gate(report_of(refused))
    with pytest.raises(ParityError, match=r"found 0\.9800"):
        gate(report_of(row("ivf", 0, recall=0.98)))
    with pytest.raises(ParityError, match="found nan"):
        gate(report_of(row("ivf", 0, recall=float("nan"))))
