"""Bundles whose hashes fit and whose facts do not: refused by name, never by accident."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hemogat.errors import BundleError
from hemogat.runtime.bundle import MANIFEST_FILE, write_sums
from hemogat.runtime.golden import check_golden
from hemogat.runtime.pipeline import Pipeline


def altered(path: Path, alter: Callable[[Any], None]) -> None:
    raw = json.loads(path.read_text())
    alter(raw)
    path.write_text(json.dumps(raw))


def refusal(bundle: Path) -> str:
    write_sums(bundle)
    with pytest.raises(BundleError) as caught:
        Pipeline.load(bundle, threads=1)(text="stop that").neighbours  # noqa: B018
    assert "\n" not in str(caught.value)
    return str(caught.value)


def swap_models(raw: Any) -> None:
    one, other = raw["models"][:2]
    one["path"], other["path"] = other["path"], one["path"]


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda raw: raw["labels"].append("joy"), "promises probabilities of shape"),
        (lambda raw: raw["dims"].update(audio=24), "bundle.json"),
        (lambda raw: raw["dims"].update(text=8), "bundle.json"),
        (lambda raw: raw["graph"].update(k_text=7), "promises 9 neighbours"),
        (lambda raw: raw["bank"].update(rows=25), "expected 25 ids and labels, found 24"),
        (swap_models, "do not run as bundle.json says"),
        (lambda raw: raw["audio"].update(max_audio_s=float("inf")), "audio.max_audio_s"),
        (lambda raw: raw["text"].update(token_buckets=[2**31]), "text.token_buckets"),
        (lambda raw: raw["text"].update(token_buckets=[16, 4096]), "do not run as bundle.json"),
    ],
)
def test_facts_that_the_graphs_contradict(
    bundle_copy: Path, alter: Callable[[Any], None], reason: str
) -> None:
    altered(bundle_copy / MANIFEST_FILE, alter)
    assert reason in refusal(bundle_copy)


def test_a_shorter_list_of_bank_rows(bundle_copy: Path) -> None:
    def shorten(raw: Any) -> None:
        raw["ids"], raw["labels"] = raw["ids"][:1], raw["labels"][:1]

    altered(bundle_copy / "bank" / "rows.json", shorten)
    assert "rows.json: expected 24 ids and labels, found 1 and 1" in refusal(bundle_copy)
    altered(bundle_copy / MANIFEST_FILE, lambda raw: raw["bank"].update(rows=1))
    assert "its graph has more bank rows than bank/rows.json" in refusal(bundle_copy)


def test_tokens_that_the_text_encoder_does_not_know(bundle_copy: Path) -> None:
    def renumber(raw: Any) -> None:
        vocabulary = raw["model"]["vocab"]
        vocabulary[max(vocabulary, key=vocabulary.get)] = 10**6

    altered(bundle_copy / "tokenizer.json", renumber)
    assert "do not run as bundle.json says" in refusal(bundle_copy)


@pytest.mark.parametrize(
    "alter",
    [
        lambda raw: raw.update(own={"onnx-fp32": []}),
        lambda raw: raw["cases"][0].update(probabilities=[1.0]),
        lambda raw: raw["cases"][0].update(label="joy"),
    ],
)
def test_golden_cases_that_do_not_fit(bundle_copy: Path, alter: Callable[[Any], None]) -> None:
    altered(bundle_copy / "golden" / "golden.json", alter)
    write_sums(bundle_copy)
    with pytest.raises(BundleError, match=r"golden\.json: expected one of the labels"):
        check_golden(Pipeline.load(bundle_copy, threads=1))


def test_too_little_memory_is_not_laid_to_the_bundle(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Pipeline, "fuse", fails)
    with pytest.raises(MemoryError):
        Pipeline.load(tiny_bundle)
