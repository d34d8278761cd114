from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hemogat.errors import ParityError
from hemogat.runtime.bundle import Bundle, write_sums
from hemogat.runtime.golden import check_golden, golden_cases
from hemogat.runtime.pipeline import Pipeline

Edit = Callable[[Path, Callable[[Any], None]], None]


def test_a_fresh_bundle_answers_as_it_was_made(tiny_bundle: Path) -> None:
    assert check_golden(Pipeline.load(tiny_bundle)) < 1e-5


def test_cases_are_real_utterances_with_the_references_answers(tiny_bundle: Path) -> None:
    cases = golden_cases(Bundle.open(tiny_bundle))
    assert len(cases) == 4
    for case in cases:
        assert case.audio is not None
        assert case.audio.is_file()
        assert case.text
        assert sum(case.probabilities) == pytest.approx(1, abs=1e-5)
        labels = ("angry", "calm", "sad")
        assert case.label == labels[int(np.argmax(case.probabilities))]
    assert len({case.audio for case in cases}) == 4


def test_a_changed_probability_is_noticed(bundle_copy: Path, edit_json: Edit) -> None:
    def change(raw: Any) -> None:
        raw["cases"][2]["probabilities"][0] += 0.01

    edit_json(bundle_copy / "golden" / "golden.json", change)
    with pytest.raises(ParityError, match=r"golden case 2: .* 0\.01 off") as caught:
        check_golden(Pipeline.load(bundle_copy))
    assert str(bundle_copy) in str(caught.value)


def test_a_changed_label_is_noticed(bundle_copy: Path, edit_json: Edit) -> None:
    def change(raw: Any) -> None:
        labels = {"angry": "calm", "calm": "sad", "sad": "angry"}
        raw["cases"][1]["label"] = labels[raw["cases"][1]["label"]]

    edit_json(bundle_copy / "golden" / "golden.json", change)
    with pytest.raises(ParityError, match="golden case 1: expected"):
        check_golden(Pipeline.load(bundle_copy))


def test_answers_that_are_no_numbers_are_noticed(bundle_copy: Path, edit_json: Edit) -> None:
    # NaN is not more than any limit, and its argmax is the first label.
    path = bundle_copy / "fusion" / "onnx-fp32" / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name.endswith("mlp.4.bias"):
            tensor.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), tensor.name))
    onnx.save(model, path)

    def first_label(raw: Any) -> None:
        for case in raw["cases"]:
            case["label"] = "angry"

    edit_json(bundle_copy / "golden" / "golden.json", first_label)
    write_sums(bundle_copy)
    with pytest.raises(ParityError, match=r"golden case 0: .* nan off"):
        check_golden(Pipeline.load(bundle_copy))
