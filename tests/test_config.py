from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hemogat.config import (
    AudioEncoderConfig,
    GraphConfig,
    HeadConfig,
    Recipe,
    TextConfig,
    load_settings,
    parse_settings,
)
from hemogat.errors import ConfigError
from hemogat.export_config import ExportConfig, ParityConfig

MINIMAL = {"name": "mine", "labels": ["a", "b"]}


def test_defaults_are_the_authors() -> None:
    recipe = Recipe.model_validate(MINIMAL)
    head = recipe.head
    assert (head.hidden, head.heads, head.final_heads, head.num_layers) == (512, 4, 1, 3)
    assert (head.modules, head.modalities) == ("full", "both")
    assert (recipe.graph.k_audio, recipe.graph.k_text) == (4, 5)
    assert recipe.graph.slots == 9


def test_the_gate_is_strict_unless_a_recipe_says_otherwise() -> None:
    exact = ParityConfig(max_abs_diff=1e-4, min_cosine=0.9999, max_flip_rate=0.0)
    assert ExportConfig().limits == exact
    assert ExportConfig().opset <= 23


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head": {"hiden": 512}}, "head.hiden: Extra inputs are not permitted, found 512"),
        ({"head": {"hidden": 10, "heads": 4}}, r"hidden (10) must be a multiple of heads (4)"),
        ({"head": {"num_layers": 5}}, "head.num_layers"),
        ({"head": {"num_layers": 0}}, "head.num_layers"),
        ({"head": {"dropout": 1.0}}, "head.dropout"),
        (
            {"head": {"modalities": "audio", "modality_dropout": 0.1}},
            "modality_dropout needs modalities: both",
        ),
        ({"graph": {"k_audio": -1}}, "graph.k_audio"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["a", "b", "a"]}, "labels repeat: a, b, a"),
        ({"labels": ["yes", False]}, "labels.1: Input should be a valid string, found False"),
        ({"name": "../escape"}, "name"),
        ({"text": {"token_buckets": [32, 16]}}, "token_buckets must grow"),
        ({"text": {"token_buckets": [16, 16, 128]}}, "token_buckets must grow"),
        ({"text": {"max_tokens": 256}}, "the last of token_buckets (128) must reach"),
        ({"text": {"token_buckets": []}}, "text.token_buckets"),
        ({"head_training": {"learning_rate": 0}}, "head_training.learning_rate"),
        ({"audio": {"sample_rate_hz": 8000}}, "audio.sample_rate_hz"),
        (
            {"audio_encoder": {"pretrained": "a", "torchaudio": "WAVLM_BASE"}},
            "give pretrained or torchaudio, not both",
        ),
        ({"audio_encoder": {"torchaudio": "WAVLM_LARGE"}}, "audio_encoder.torchaudio"),
        ({"audio_encoder": {"train_last_layers": 0}}, "audio_encoder.train_last_layers"),
        (
            {"audio_encoder": {"train_last_layers": 2, "freeze_feature_extractor": False}},
            "train_last_layers freezes the feature extractor",
        ),
        ({"text_encoder": {"train_last_layers": 0}}, "text_encoder.train_last_layers"),
        (
            {"audio_encoder": {"scratch": {"width": 80, "heads": 3}}},
            "audio_encoder.scratch: width (80) must be a multiple of heads (3)",
        ),
        (
            {"audio_encoder": {"scratch": {"width": 40}}},
            "width (40) must be a multiple of the groups of wav2vec2's convolution (16)",
        ),
        (
            {"text_encoder": {"scratch": {"width": 90}}},
            "text_encoder.scratch: width (90) must be a multiple of heads (4)",
        ),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(Recipe, MINIMAL | change, source="my.yaml")
    text = str(caught.value)
    assert text.startswith("my.yaml: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("settings", "frozen"),
    [
        ({}, False),
        ({"pretrained": "a"}, True),
        ({"torchaudio": "HUBERT_BASE"}, True),
        ({"pretrained": "a", "freeze_feature_extractor": False}, False),
        ({"freeze_feature_extractor": True}, True),
    ],
)
def test_the_feature_extractor_is_frozen_if_pretrained(
    settings: dict[str, Any], frozen: bool
) -> None:
    assert AudioEncoderConfig.model_validate(settings).feature_extractor_frozen is frozen


def test_further_problems_are_counted() -> None:
    with pytest.raises(ConfigError, match=r"\(and 2 more\)$"):
        parse_settings(Recipe, {"head": {"hidden": 0}}, source="my.yaml")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        GraphConfig().k_audio = 7  # type: ignore[misc]


def test_a_recipe_is_read_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: mine\nlabels: [a, ‖]\nhead: {hidden: 8, heads: 2}\n", encoding="utf-8")
    recipe = load_settings(Recipe, path)
    assert recipe.labels == ("a", "‖")
    assert recipe.head == HeadConfig(hidden=8, heads=2)
    again = Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "name: Field required"),
        (b"- a\n- b\n", "the whole file"),
        (b"name: [", "is not YAML"),
        (b"\xff\xfe", "is not YAML"),
        (b"a: b: c", "is not YAML"),
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
        (b"a: 2001-13-45", "is not YAML"),
        (b"a: !!int x", "is not YAML"),
        (b"a: !!int ''", "is not YAML"),
        (b"a: !!bool x", "is not YAML"),
        (b"a: !!timestamp x", "is not YAML"),
        (b"a: " + b"9" * 5000, "is not YAML"),
        (b"[" * 100_000, "is not YAML"),
        (b"a: &a [*a]", "name: Field required"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings(Recipe, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"{path}: cannot be read"):
            load_settings(Recipe, path)


def test_buckets_may_reach_beyond_the_longest_text() -> None:
    assert TextConfig(max_tokens=20, token_buckets=(16, 32)).token_buckets == (16, 32)


def test_what_our_own_checks_say_stands_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(Recipe, MINIMAL | {"head": {"hidden": 6, "heads": 4}}, source="my.yaml")
    assert str(caught.value).startswith("my.yaml: head: hidden (6) must be a multiple of heads (4)")


@pytest.mark.parametrize(
    ("modalities", "reads"),
    [("both", ("audio", "text")), ("audio", ("audio",)), ("text", ("text",))],
)
def test_a_head_reads_its_modalities(modalities: str, reads: tuple[str, ...]) -> None:
    assert HeadConfig.model_validate({"modalities": modalities}).reads == reads
