"""Every family of encoders exports, and answers as torch does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn.utils import parametrize

from hemogat.config import TextConfig
from hemogat.export.folding import fold_weight_norm
from hemogat.export.onnx_graphs import (
    FORBIDDEN_OPERATORS,
    export_audio_encoder,
    export_text_encoder,
)
from hemogat.model.encoders import AudioEncoder, TextEncoder

LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def run(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.run(None, feeds)
    return value


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}


@torch.no_grad()
@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [("wav2vec2", LARGE), ("hubert", {}), ("wavlm", {}), ("wavlm", LARGE)],
    ids=["wav2vec2-large", "hubert-base", "wavlm-base", "wavlm-large"],
)
def test_audio_encoders_export(
    model_type: str,
    architecture: dict[str, Any],
    tiny_backbone: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoder = AudioEncoder(tiny_backbone(model_type, **architecture)).eval()
    assert not [m for m in fold_weight_norm(encoder).modules() if parametrize.is_parametrized(m)]
    path = export_audio_encoder(encoder, tmp_path, opset=20)
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    # Log and Gather would be WavLM's position buckets: windows are all alike, so it is a constant.
    assert not operators(path) & (FORBIDDEN_OPERATORS | {"Log", "Gather"})
    for windows in (torch.randn(1, 16_000), torch.randn(3, 16_000)):
        assert_allclose(run(path, {"windows": windows.numpy()}), encoder(windows), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["roberta", "distilbert", "electra"])
def test_text_encoders_export(
    model_type: str, tiny_backbone: Callable[..., Any], tmp_path: Path
) -> None:
    config = TextConfig(max_tokens=32, token_buckets=(16, 32))
    encoder = TextEncoder(tiny_backbone(model_type), config).eval()
    path = export_text_encoder(encoder, tmp_path, opset=20)
    assert not operators(path) & (FORBIDDEN_OPERATORS | {"CumSum", "GatherND"})
    for length, lengths in ((16, [[5]]), (32, [[7], [20], [32]])):
        ids = torch.randint(2, 50, (len(lengths), length))
        mask = (torch.arange(length) < torch.tensor(lengths)).long()
        found = run(path, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        assert_allclose(found, encoder(ids, mask), atol=1e-4)
