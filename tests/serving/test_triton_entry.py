from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from hemogat.errors import InputError
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.sessions import Arrays, EngineSession, open_session
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.triton_entry import Entry, Row

GRAPHS: tuple[GraphName, ...] = ("audio_encoder", "text_encoder", "fusion")


class InProcess:
    """Runs the graphs here, and keeps what was asked for."""

    def __init__(self, bundle: Bundle) -> None:
        self.sessions: dict[str, EngineSession] = {
            graph: open_session(bundle, graph, threads=1) for graph in GRAPHS
        }
        self.calls: list[tuple[str, int]] = []
        self.running = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def __call__(self, graph: str, feeds: Arrays) -> Arrays:
        with self._lock:
            self.calls.append((graph, len(next(iter(feeds.values())))))
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
        time.sleep(0.05)  # the encoder of the other modality begins meanwhile
        with self._lock:
            self.running -= 1
        return self.sessions[graph].run(feeds)


def answer(
    bundle: Path, rows: Sequence[Row], *, max_windows: int = 16, explain: bool = False
) -> tuple[Arrays, InProcess]:
    opened = Bundle.open(bundle)
    infer = InProcess(opened)
    with ThreadPoolExecutor(1) as beside:
        models = InnerModels(opened.manifest, infer, max_windows=max_windows, explain=explain)
        return Entry(opened, models, beside, nullcontext()).answer(rows), infer


@pytest.fixture(scope="module")
def clip(tiny_clips: Path) -> bytes:
    longest = max(tiny_clips.glob("*.wav"), key=lambda path: path.stat().st_size)
    return longest.read_bytes()


def test_rows_may_lack_different_inputs(tiny_bundle: Path, clip: bytes) -> None:
    rows: list[Row] = [(clip, b"stop that"), (clip, None), (b"", b"stop that"), (clip, b"  ")]
    outputs, infer = answer(tiny_bundle, rows)
    assert [m for [m] in outputs["MODALITIES"]] == [b"audio,text", b"audio", b"text", b"audio"]
    pipeline = Pipeline.load(tiny_bundle)
    expected = pipeline([clip, clip, None, clip], ["stop that", None, "stop that", None])
    assert [label.decode() for [label] in outputs["LABEL"]] == [p.label for p in expected]
    np.testing.assert_allclose(
        outputs["PROBABILITIES"], [list(p.probabilities.values()) for p in expected], atol=1e-6
    )
    assert infer.calls.count(("fusion", 4)) == 1
    assert infer.calls.count(("text_encoder", 2)) == 1  # one length, so one batch
    assert set(outputs) == {"LABEL", "PROBABILITIES", "MODALITIES"}


def test_long_clips_are_sent_in_chunks_with_the_same_answer(tiny_bundle: Path, clip: bytes) -> None:
    whole, together = answer(tiny_bundle, [(clip, b"stop")])
    chunked, apart = answer(tiny_bundle, [(clip, b"stop")], max_windows=1)
    windows = sum(count for graph, count in together.calls if graph == "audio_encoder")
    assert windows > 1
    assert apart.calls.count(("audio_encoder", 1)) == windows
    np.testing.assert_allclose(whole["PROBABILITIES"], chunked["PROBABILITIES"], atol=1e-6)


def test_the_encoders_work_at_the_same_time_but_chunks_one_by_one(
    tiny_bundle: Path, clip: bytes
) -> None:
    _, infer = answer(tiny_bundle, [(clip, b"stop")], max_windows=1)
    assert infer.most_at_once == 2


def test_neighbours_are_told_only_when_asked_for(tiny_bundle: Path, clip: bytes) -> None:
    outputs, _ = answer(tiny_bundle, [(clip, b"stop")], explain=True)
    expected = Pipeline.load(tiny_bundle)(clip, "stop").neighbours
    rows = outputs["NEIGHBOURS"][0]
    assert [row for row in rows.tolist() if row >= 0] == [n.row for n in expected]
    np.testing.assert_allclose(
        outputs["SIMILARITIES"][0][rows >= 0], [n.similarity for n in expected], atol=1e-6
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((b"not audio at all", b"stop"), "^row 1: "),
        ((None, b"a\0b"), "^text of row 1: .*null"),
        ((None, b"\xff\xfe"), "^text of row 1: .*UTF-8"),
        ((None, None), "^row 1: expected audio or text"),
        ((b"", b" "), "^row 1: expected audio or text"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_row(
    tiny_bundle: Path, clip: bytes, bad: Row, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        answer(tiny_bundle, [(clip, b"stop"), bad])
