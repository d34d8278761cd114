from __future__ import annotations

import json
from pathlib import Path

import pytest

from hemogat.runtime.bank_files import BankFiles
from hemogat.runtime.bundle import MANIFEST_FILE, Bundle
from hemogat.runtime.ivf_facts import IvfFiles

NEEDED = {"rows": 24, "tensors": "fusion/bank.safetensors", "index": "bank/rows.json"}


@pytest.mark.parametrize(
    "optional",
    [
        {},
        {"states": "bank/states/model.onnx"},
        {"gather": "bank/gather/model.onnx", "ivf": IvfFiles(tensors="bank/ivf.safetensors")},
    ],
)
def test_what_there_is_not_is_not_written(optional: dict[str, object]) -> None:
    bank = BankFiles.model_validate(NEEDED | optional)
    assert bank.model_dump().keys() == NEEDED.keys() | optional.keys()
    assert BankFiles.model_validate_json(bank.model_dump_json()) == bank


def test_bundles_without_an_index_stay_readable_to_earlier_versions(
    tiny_bundle: Path, tiny_indexed_bundle: Path
) -> None:
    """These refuse every field that they do not know."""
    known = {"rows", "tensors", "index", "states", "gather", "gather_int8"}
    for path, new in ((tiny_bundle, set()), (tiny_indexed_bundle, {"ivf"})):
        written = json.loads((path / MANIFEST_FILE).read_text())
        assert written["bank"].keys() - known == new
        manifest = Bundle.open(path).manifest
        assert json.loads(manifest.model_dump_json()) == written
