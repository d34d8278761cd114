"""Fixtures that many tests share: a tiny corpus, a run trained on it, its bundle."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from hemogat.config import Recipe
from hemogat.data.manifest import Utterance, write_manifest

# Tiny models gain nothing from torch's threads, which wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# In a background job of a shell SIGINT is ignored, and the commands that tests stop inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

_WORDS = {"angry": "stop that right now", "calm": "the table is brown", "sad": "she left us alone"}
_PITCH_HZ = {"angry": 330.0, "calm": 220.0, "sad": 110.0}
_PER_LABEL = {"train": 8, "val": 2, "test": 4}


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """Return the smallest recipe with every part that a real one has."""
    small = {"width": 16, "layers": 1, "heads": 2}
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "labels": list(_WORDS),
            "seeds": 2,
            "text": {"max_tokens": 32, "token_buckets": [16, 32]},
            # Narrower, and a group of the positional convolution would have no channel.
            "audio_encoder": {"scratch": small | {"conv_width": 8}},
            "text_encoder": {"scratch": small | {"vocab_size": 60}},
            "graph": {"k_audio": 2, "k_text": 3},
            "head": {"hidden": 16, "heads": 2, "modality_dropout": 0.2},
            "audio_training": training,
            "text_training": training,
            "head_training": training | {"epochs": 5},
        }
    )


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small WAV files: tones of 0.4 to 2.3 s at two rates."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(0)
    for label, pitch_hz in _PITCH_HZ.items():
        for number in range(sum(_PER_LABEL.values())):
            rate_hz = (16_000, 22_050)[number % 2]
            time_s = np.arange(int(rate_hz * random.uniform(0.4, 2.3))) / rate_hz
            tone = 0.3 * np.sin(2 * np.pi * pitch_hz * random.uniform(0.9, 1.1) * time_s)
            noise = 0.02 * random.standard_normal(len(time_s))
            soundfile.write(folder / f"{label}-{number:02}.wav", tone + noise, rate_hz)
    return folder


@pytest.fixture(scope="session")
def tiny_manifest(tiny_clips: Path) -> Path:
    """Return a manifest over the clips, split by speaker."""
    splits = [split for split, count in _PER_LABEL.items() for _ in range(count)]
    utterances = [
        Utterance(
            id=f"{label}-{number:02}",
            audio=tiny_clips / f"{label}-{number:02}.wav",
            text=f"{words} {number % 3}",
            label=label,
            speaker=f"speaker-{split}",
            split=split,
        )
        for label, words in _WORDS.items()
        for number, split in enumerate(splits)
    ]
    path = tiny_clips / "manifest.csv"
    write_manifest(path, utterances)
    return path


@pytest.fixture(scope="session")
def tiny_run(
    tiny_recipe: Recipe, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a run directory trained on the clips."""
    from hemogat.training.train import train

    return train(tiny_recipe, tiny_manifest, tmp_path_factory.mktemp("tiny") / "run").path


@pytest.fixture(scope="session")
def authors() -> ModuleType:
    """Return the authors' network and graph, written from their published structure."""
    return _load("authors_network")


@pytest.fixture(scope="session")
def tensorrt_api() -> ModuleType:
    """Return TensorRT's API made from lists of its names, and a CUDA runtime in host memory."""
    return _load("tensorrt_api")


@pytest.fixture
def running_tensorrt(tensorrt_api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a TensorRT and a GPU in place whose plans answer as their graphs do; return the former.

    It has the version of the script's stand-ins, so that their plans can be loaded.
    """
    api = tensorrt_api.RunningTensorRT(tensorrt_api.VERSIONS[0])
    monkeypatch.setitem(sys.modules, "tensorrt", api.module)
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", tensorrt_api.HostCuda())
    return api


@pytest.fixture(scope="session")
def corpora() -> ModuleType:
    """Return what writes small trees in the formats of the corpora."""
    return _load("corpora")


def _load(name: str) -> ModuleType:
    """Import a module of this folder, which is not a package."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def authors_files(authors: ModuleType, tmp_path: Path) -> dict[str, Path]:
    """Return a checkpoint (4 labels, 12 numbers per embedding) and its feature files."""
    import torch

    torch.manual_seed(0)
    paths = {"checkpoint": tmp_path / "IEMOCAP_GNN_SER.pt"}
    torch.save(authors.MultiModalGNN().state_dict(), paths["checkpoint"])
    for split, count in (("train", 20), ("val", 10), ("test", 16)):
        paths[split] = tmp_path / f"IEMOCAP_BERT_WAV2VEC_{split}.pkl"
        authors.write_features(paths[split], torch.randn(count, 12), torch.randn(count, 12))
    return paths


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Path) -> Path:
    """Return the bundle of the tiny run. Tests that change it work on a copy."""
    from hemogat.export.export_run import export_run
    from hemogat.export_config import ExportConfig

    return export_run(tiny_run, tiny_run.parent / "bundle", ExportConfig()).bundle


@pytest.fixture(scope="session")
def tiny_gathered_bundle(
    tiny_bundle: Path, tiny_run: Path, tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the tiny bundle as ``export --gather`` makes it."""
    from hemogat.export.gathered_graphs import export_fusion_gather
    from hemogat.model.bank import freeze_bank
    from hemogat.runtime.bundle import MANIFEST_FILE, write_sums
    from hemogat.training.run_directory import RunDirectory

    path = Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("gathered") / "bundle"))
    run = RunDirectory.open(tiny_run)
    bank = freeze_bank(run.head(), run.features("train").embeddings, tiny_recipe.graph)
    place = path / "bank" / "gather"
    graph = export_fusion_gather(run.head(), bank, tiny_recipe.graph, place, 20)
    manifest = json.loads((path / MANIFEST_FILE).read_text())
    manifest["bank"]["gather"] = graph.relative_to(path).as_posix()
    (path / MANIFEST_FILE).write_text(json.dumps(manifest))
    write_sums(path)
    return path


@pytest.fixture(scope="session")
def tiny_indexed_bundle(
    tiny_gathered_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the tiny bundle as ``hemogat bank index`` makes it. Tests change a copy."""
    from hemogat.export.bank_index import add_index
    from hemogat.runtime.bundle import Bundle

    out = tmp_path_factory.mktemp("indexed") / "bundle"
    return add_index(Bundle.open(tiny_gathered_bundle), out).path


@pytest.fixture(scope="session")
def tiny_backbone() -> Callable[..., Any]:
    """Return what makes a transformers model of a type, tiny and with random weights."""
    import torch
    from transformers import AutoConfig, AutoModel

    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    audio = {
        "conv_dim": (8,) * 7,
        "num_conv_pos_embeddings": 6,
        "num_conv_pos_embedding_groups": 4,
        "layerdrop": 0.0,
    }
    text = {"vocab_size": 50, "max_position_embeddings": 34}  # RoBERTa needs 34 for 32 tokens

    def make(model_type: str, **settings: Any) -> Any:
        torch.manual_seed(0)
        kind = audio if model_type in ("wav2vec2", "hubert", "wavlm") else text
        config = AutoConfig.for_model(model_type, **sizes | kind | settings)
        model = AutoModel.from_config(config, attn_implementation="eager").eval()
        for parameter in model.parameters():  # at their initial values, layers hardly do anything
            torch.nn.init.normal_(parameter, std=0.3)
        return model

    return make
