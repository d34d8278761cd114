"""The stages of a run that take long: each is left out if its result is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from hemogat.config import HeadConfig, Recipe
from hemogat.data.manifest import Split
from hemogat.files import folder_written_whole
from hemogat.model.bank import Embeddings
from hemogat.model.encoders import (
    AudioEncoder,
    TextEncoder,
    build_audio_encoder,
    build_text_encoder,
    load_audio_encoder,
    load_text_encoder,
    save_encoder,
)
from hemogat.progress import Progress
from hemogat.training.encoder_training import train_audio_encoder, train_text_encoder
from hemogat.training.head_names import FULL
from hemogat.training.head_training import HeadGraphs, train_head
from hemogat.training.partial_run import PartialRun, seed_stage
from hemogat.training.preparation import PreparedRow
from hemogat.training.processes import share
from hemogat.training.run_directory import (
    Features,
    head_path,
    save_head,
    validation_f1,
)

_AUDIO, _TEXT = "audio_encoder", "text_encoder"


@dataclass(frozen=True)
class Encoders:
    """The encoders of a run; None for one that is trained and stored already, or not needed."""

    audio: AudioEncoder | None
    text: TextEncoder | None


def build_encoders(recipe: Recipe, partial: PartialRun, vocab_size: int) -> Encoders:
    """Load or make what is still to be trained, before hours are spent on any of it.

    Raises:
        ConfigError: the recipe names an encoder that cannot be had.
    """
    audio, text = None, None
    reads = recipe.head.reads
    if "audio" in reads and not (partial.folder / _AUDIO).is_dir():
        seed_stage(recipe.seed, f"build {_AUDIO}")
        audio = build_audio_encoder(recipe.audio_encoder)
    if "text" in reads and not (partial.folder / _TEXT).is_dir():
        seed_stage(recipe.seed, f"build {_TEXT}")
        text = build_text_encoder(recipe.text_encoder, recipe.text, vocab_size)
    return Encoders(audio, text)


def train_encoders(
    recipe: Recipe,
    partial: PartialRun,
    encoders: Encoders,
    train: Sequence[PreparedRow],
    validation: Sequence[PreparedRow],
    progress: Progress,
) -> tuple[AudioEncoder | None, TextEncoder | None]:
    """Train what is not trained yet; return what the head needs as stored, in evaluation mode."""
    labels, accelerator = len(recipe.labels), partial.accelerator
    if encoders.audio is not None:
        seed_stage(recipe.seed, f"train {_AUDIO}")
        train_audio_encoder(
            encoders.audio,
            train,
            validation,
            labels,
            recipe.audio_training,
            recipe.audio.window_samples,
            progress,
            augmentation=recipe.audio_augmentation,
            accelerator=accelerator,
            files=partial.files(_AUDIO),
        )
        _store(partial, encoders.audio, _AUDIO)
    if encoders.text is not None:
        seed_stage(recipe.seed, f"train {_TEXT}")
        train_text_encoder(
            encoders.text,
            train,
            validation,
            labels,
            recipe.text_training,
            progress,
            accelerator=accelerator,
            files=partial.files(_TEXT),
        )
        _store(partial, encoders.text, _TEXT)
    audio, text = None, None
    if "audio" in recipe.head.reads:
        audio = load_audio_encoder(partial.folder / _AUDIO).eval().to(accelerator.device)
    if "text" in recipe.head.reads:
        text = load_text_encoder(partial.folder / _TEXT, recipe.text).eval().to(accelerator.device)
    return audio, text


def _store(partial: PartialRun, encoder: AudioEncoder | TextEncoder, name: str) -> None:
    if partial.accelerator.is_main_process:
        with folder_written_whole(partial.folder / name) as folder:
            save_encoder(encoder, folder)
        partial.finish(name)
    partial.accelerator.wait_for_everyone()


def train_heads(
    recipe: Recipe,
    partial: PartialRun,
    kinds: Mapping[str, HeadConfig],
    features: Callable[[Split], Features],
    progress: Progress,
) -> int:
    """Train every kind of head with every seed; return the seed of the best full head.

    Processes share them out: each head is trained by one.
    """
    device = partial.accelerator.device
    training, validation = (_on(device, features(split)) for split in ("train", "val"))
    graphs = HeadGraphs(training, validation)
    every = [(name, seed) for name in kinds for seed in recipe.head_seeds]
    for name, seed in share(every, partial.accelerator):
        if head_path(partial.folder, name, seed).exists():
            continue
        torch.manual_seed(seed)
        stage = f"heads/{name}-seed{seed}"
        trained = train_head(
            f"{name}, seed {seed}",
            training,
            validation,
            len(recipe.labels),
            kinds[name],
            recipe.graph,
            recipe.head_training,
            progress,
            graphs=graphs,
            files=partial.files(stage, own=True),
        )
        save_head(partial.folder, name, seed, trained.head, trained.validation_f1)
        partial.finish(stage)
    partial.accelerator.wait_for_everyone()
    scores = {seed: validation_f1(partial.folder, FULL, seed) for seed in recipe.head_seeds}
    return max(scores, key=scores.__getitem__)


def _on(device: torch.device, features: Features) -> Features:
    e = features.embeddings
    moved = Embeddings(e.audio.to(device), e.text.to(device), e.present.to(device))
    return Features(moved, features.labels.to(device))
