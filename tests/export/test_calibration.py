from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hemogat.contract import GRAPHS
from hemogat.data.manifest import Utterance, read_manifest
from hemogat.errors import InputError
from hemogat.export.calibration import calibration_feeds
from hemogat.progress import Progress
from hemogat.training.run_directory import RunDirectory


@pytest.fixture
def training(tiny_manifest: Path) -> tuple[Utterance, ...]:
    return read_manifest(tiny_manifest).split("train")


@pytest.mark.parametrize(("count", "taken"), [(6, 6), (1000, 24)])
def test_every_graph_gets_its_inputs(
    count: int, taken: int, tiny_run: Path, training: tuple[Utterance, ...]
) -> None:
    feeds = calibration_feeds(RunDirectory.open(tiny_run), training, count, Progress())
    assert set(feeds) == set(GRAPHS)
    for graph, calls in feeds.items():
        assert len(calls) == taken
        for call in calls:
            for tensor in GRAPHS[graph].inputs:
                assert call[tensor.name].dtype == np.dtype(tensor.dtype)
                assert call[tensor.name].shape[0] == 1


def test_an_encoder_without_input_is_refused(
    tiny_run: Path, training: tuple[Utterance, ...]
) -> None:
    silent = [replace(utterance, audio=None) for utterance in training]
    with pytest.raises(InputError, match="to calibrate the audio_encoder on, found none"):
        calibration_feeds(RunDirectory.open(tiny_run), silent, 4, Progress())
