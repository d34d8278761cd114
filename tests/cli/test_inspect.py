from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from hemogat.runtime.bundle import Bundle


def test_facts(hemogat: Callable[..., Result], tiny_bundle: Path) -> None:
    result = hemogat("inspect", tiny_bundle, "--check")
    assert result.exit_code == 0, result.stderr
    facts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if line[0] != " ")
    assert facts["bundle"].startswith(f"tiny ({tiny_bundle}, ")
    assert facts["labels"] == "angry, calm, sad"
    assert facts["reads"] == "audio and text, one may be missing"
    assert facts["neighbours"] == "2 by audio, 3 by text, from 24 rows"
    lines = result.stdout.splitlines()
    tensors = [line.split("  ", 1)[1].strip() for line in lines if "[" in line]
    assert tensors[0] == "audio_encoder in  windows float32 [window, 16000]"
    assert "audio_encoder out  audio_embedding float32 [window, 16]" in tensors
    assert "fusion in  present bool [batch, 2]" in tensors
    assert tensors[-1] == "fusion out  attention float32 [batch, 6]"
    assert facts["golden"].startswith("cases  answered by onnx-fp32 as expected, within ")
    assert facts["parity"].startswith("onnx-fp32: 0 of 54 decisions flipped (all inputs 0, ")


def test_json_is_the_manifest_with_sizes(
    hemogat_json: Callable[..., Any], tiny_bundle: Path
) -> None:
    found = hemogat_json("inspect", tiny_bundle)
    manifest = Bundle.open(tiny_bundle).manifest
    assert found["labels"] == list(manifest.labels)
    assert found["bank"]["rows"] == manifest.bank.rows
    assert [model["path"] for model in found["models"]] == [m.path for m in manifest.models]
    for model in found["models"]:
        assert model["size_bytes"] >= (tiny_bundle / model["path"]).stat().st_size
    assert found["size_bytes"] == sum(
        file.stat().st_size for file in tiny_bundle.rglob("*") if file.is_file()
    )
    assert found["golden_max_abs_diff"] is None
    assert found["tensors"]["text_encoder"]["inputs"] == {
        name: {"dtype": "int64", "shape": ["batch", "token"]}
        for name in ("input_ids", "attention_mask")
    }
    verified = hemogat_json("inspect", tiny_bundle, "--verify")
    assert 0 <= verified["golden_max_abs_diff"]["onnx-fp32"] < 1e-3


def test_an_altered_file_is_refused(
    refused: Callable[..., str], tiny_bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, copy)
    (copy / "tokenizer.json").write_text("{}")
    assert f"{copy / 'tokenizer.json'}: is altered" in refused("inspect", copy)


def test_what_is_no_bundle_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}: is not a bundle" in refused("inspect", tmp_path)
    assert "is not a bundle" in refused("inspect", tmp_path / "absent")
