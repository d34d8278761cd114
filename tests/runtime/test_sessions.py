from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from hemogat.errors import ConfigError, IncompleteError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.sessions import open_graph, open_session


def test_a_session_speaks_the_contracts_names(tiny_bundle: Path) -> None:
    session = open_session(Bundle.open(tiny_bundle), "fusion")
    assert set(session.inputs) == {"audio_embedding", "text_embedding", "present"}
    assert session.outputs == (
        "logits",
        "probabilities",
        "neighbours",
        "similarities",
        "attention",
    )
    feeds = {
        "audio_embedding": np.ones((2, 16), np.float32),
        "text_embedding": np.ones((2, 16), np.float32),
        "present": np.ones((2, 2), bool),
        "unused": np.zeros(1),
    }
    found = session.run(feeds)
    assert found["probabilities"].shape == (2, 3)
    assert_allclose(found["attention"].sum(axis=1), 1, atol=1e-6)


def test_inputs_need_not_be_contiguous(tiny_bundle: Path) -> None:
    session = open_session(Bundle.open(tiny_bundle), "audio_encoder", device="auto")
    windows = np.random.default_rng(0).standard_normal((16_000, 2)).astype(np.float32)
    one = session.run({"windows": windows.T})["audio_embedding"]
    other = session.run({"windows": windows.T.copy()})["audio_embedding"]
    assert_allclose(one, other, rtol=0)


def test_engines_that_cannot_run_here_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="openvino runs on cpu"):
        open_graph("model.xml", "openvino", device="cuda")
    for device in ("cpu", "cuda:x"):
        with pytest.raises(ConfigError, match="engine trt runs on a GPU; say auto or cuda"):
            open_graph("model.plan", "trt", device=device)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for device in (None, "auto", "cuda:0"):  # a plan's own device is the GPU
        with pytest.raises(IncompleteError, match="tensorrt cannot be imported"):
            open_graph("model.plan", "trt", device=device)
