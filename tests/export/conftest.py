"""Exports that take a second: the encoders' graphs come from the tiny bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from hemogat.export import targets as export_module

Change = Callable[[NDArray[Any]], NDArray[Any]]
_TAKEN = ("audio_encoder", "text_encoder")


@pytest.fixture
def quick_encoders(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the encoders' graphs, which were exported from the same run; all else is real."""
    for graph in _TAKEN:
        source = tiny_bundle / graph / "onnx-fp32"

        def copy(encoder: object, folder: Path, opset: int, source: Path = source) -> Path:
            shutil.copytree(source, folder)
            return folder / "model.onnx"

        monkeypatch.setattr(export_module, f"export_{graph}", copy)


@pytest.fixture
def quick_graphs(quick_encoders: None, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the fusion graph too."""

    def copy(head: object, bank: object, graph: object, folder: Path, opset: int) -> Path:
        shutil.copytree(tiny_bundle / "fusion" / "onnx-fp32", folder)
        return folder / "model.onnx"

    monkeypatch.setattr(export_module, "export_fusion", copy)


@pytest.fixture
def change_weight() -> Callable[[Path, str, Change], None]:
    """Return a function that changes the one weight of a graph whose name ends so."""

    def change(path: Path, name: str, how: Change) -> None:
        model = onnx.load(path)
        (tensor,) = [t for t in model.graph.initializer if t.name.endswith(name)]
        value = how(numpy_helper.to_array(tensor).copy())
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        (path.parent / "model.onnx.data").unlink()
        onnx.save(model, path, save_as_external_data=True, location="model.onnx.data")

    return change
