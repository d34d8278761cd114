from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from hemogat.errors import InputError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.triton_entry import Entry, Row
from hemogat.serving.triton_stream import Chunk, Streams
from hemogat.serving.warm_up import warm_up_entry, warm_up_streams


def test_a_made_up_second_goes_through_the_whole_entry_model(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    answers: list[Arrays] = []

    class Kept(Entry):
        def answer(self, rows: Sequence[Row]) -> Arrays:
            answers.append(super().answer(rows))
            return answers[-1]

    with ThreadPoolExecutor(1) as beside:
        warm_up_entry(bundle, lambda models: Kept(bundle, models, beside, nullcontext()))
    [answer] = answers
    assert answer["MODALITIES"].tolist() == [[b"audio,text"]]
    assert answer["PROBABILITIES"].shape == (1, 3)


def test_a_made_up_second_goes_through_the_whole_stream_model(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    answers: list[Arrays] = []

    class Kept(Streams):
        def answer(self, chunk: Chunk) -> Arrays:
            answers.append(super().answer(chunk))
            return answers[-1]

    def make(models: InnerModels) -> Streams:
        return Kept(bundle, models, nullcontext(), idle_s=60, max_streams=1)

    warm_up_streams(bundle, make)
    [answer] = answers
    assert answer["MODALITIES"].tolist() == [[b"audio,text"]]
    assert answer["WINDOWS"].item() == 1


def test_a_bundle_that_allows_less_is_served_all_the_same(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    strict = bundle.manifest.audio.model_copy(update={"max_rate_hz": 16_000})
    bundle = replace(bundle, manifest=bundle.manifest.model_copy(update={"audio": strict}))
    refusals: list[str] = []

    class Kept(Entry):
        def answer(self, rows: Sequence[Row]) -> Arrays:
            try:
                return super().answer(rows)
            except InputError as error:
                refusals.append(str(error))
                raise

    with ThreadPoolExecutor(1) as beside:
        warm_up_entry(bundle, lambda models: Kept(bundle, models, beside, nullcontext()))
    assert "24000 Hz" in refusals[0]
