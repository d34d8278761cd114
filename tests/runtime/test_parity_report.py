from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from hemogat.runtime.bundle import Bundle, write_sums
from hemogat.runtime.parity_report import never_compared
from hemogat.runtime.pipeline import Pipeline


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (None, None),
        ({"rows": [], "ungated": "no bf16"}, "onnx-fp32 was never compared: no bf16"),
        ({"stand_in": "the typed graphs"}, "itself was never compared, only the typed graphs"),
        ("no report", "onnx-fp32 was built after the export and never compared"),
    ],
)
def test_an_engine_that_was_never_compared_is_warned_of(
    change: Any, told: str | None, tiny_bundle: Path, tmp_path: Path, caplog: Any
) -> None:
    path = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    reports = json.loads((path / "parity.json").read_text())
    if change == "no report":
        reports["reports"] = {}
    elif change is not None:
        reports["reports"]["onnx-fp32"] |= change
    (path / "parity.json").write_text(json.dumps(reports))
    write_sums(path)
    with caplog.at_level(logging.WARNING, logger="hemogat"):
        Pipeline.load(path)
    if told is None:
        assert caplog.text == ""
        assert never_compared(Bundle.open(path), "onnx", "fp32") is None
    else:
        assert told in caplog.text
