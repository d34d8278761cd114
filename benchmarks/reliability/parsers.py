"""The parsers of files that strangers may have written; each takes a file's content."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from hemogat.config import AudioConfig
from hemogat.data.audio import decode_audio
from hemogat.data.manifest import read_manifest
from hemogat.runtime.bundle import MANIFEST_FILE, Bundle, write_sums
from hemogat.runtime.golden import check_golden
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.authors_checkpoint import read_checkpoint
from hemogat.training.authors_features import read_authors_features
from reliability.parser import Parser

_RATE_HZ = 16_000
_BLOCK_FRAMES = 65_536
_MANIFEST = (
    "id,audio,text,label,speaker,split,dialogue,turn\n"
    '1,,"well, now",sad,s1,train,d,0\n2,a.wav,"say ""it""",happy,s2,test,,\n'
)


def parsers(folder: Path, bundle: Path) -> dict[str, Parser]:
    """Return the parsers by name.

    Args:
        folder: an empty folder for the files.
        bundle: a valid one.
    """
    (folder / "bundle").mkdir()
    whole = Path(shutil.copytree(bundle, folder / "whole"))
    bundle_json = (bundle / MANIFEST_FILE).read_bytes()
    (folder / "a.wav").write_bytes(sounds()["wav"])
    manifest, checkpoint, features = (folder / name for name in ("m.csv", "c.pt", "f.pkl"))

    def read_bundle(content: bytes) -> object:
        (folder / "bundle" / MANIFEST_FILE).write_bytes(content)
        write_sums(folder / "bundle")  # so that what the manifest names is looked for
        return Bundle.open(folder / "bundle")

    def classify(content: bytes) -> object:
        (whole / MANIFEST_FILE).write_bytes(content)
        write_sums(whole)  # so that facts are believed until something contradicts them
        pipeline = Pipeline.load(whole, threads=1)
        tone = sounds()["wav"] if "audio" in pipeline.bundle.manifest.modalities else None
        return check_golden(pipeline), pipeline(tone, "stop that").neighbours

    def from_file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def write_and_read(content: bytes) -> object:
            path.write_bytes(content)
            return read(path)

        return write_and_read

    def read_features(path: Path) -> object:
        return read_authors_features(path, audio_dim=3, text_dim=2, labels=4)

    return {
        "audio": Parser(
            lambda content: decode_audio(content, AudioConfig(max_audio_s=5)),
            tuple(sounds().values()),
        ),
        "bundle": Parser(read_bundle, (bundle_json,)),
        "pipeline": Parser(classify, (bundle_json,)),
        "manifest": Parser(from_file(manifest, read_manifest), (_MANIFEST.encode(),)),
        "checkpoint": Parser(from_file(checkpoint, read_checkpoint), tuple(_checkpoints())),
        "features": Parser(from_file(features, read_features), tuple(_features())),
    }


def sounds(duration_s: float = 0.3) -> dict[str, bytes]:
    """Return a tone in every format that is accepted."""
    time_s = np.arange(round(_RATE_HZ * duration_s)) / _RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    kinds = {
        "wav": ("WAV", "PCM_16"),
        "wav-float": ("WAV", "FLOAT"),
        "wav-adpcm": ("WAV", "IMA_ADPCM"),
        "wavex": ("WAVEX", "PCM_24"),
        "flac": ("FLAC", "PCM_16"),
        "ogg-vorbis": ("OGG", "VORBIS"),
        "ogg-opus": ("OGG", "OPUS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }
    return {name: encoded(tone, _RATE_HZ, *kind) for name, kind in kinds.items()}


def encoded(samples: Any, rate_hz: int, kind: str, subtype: str | None = None) -> bytes:
    """Return samples [n] or [n, channels] as an audio file."""
    content = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(content, "w", rate_hz, channels, subtype, format=kind) as file:
        # Block by block: libsndfile's Vorbis encoder overflows its stack when given minutes.
        for start in range(0, len(samples), _BLOCK_FRAMES):
            file.write(samples[start : start + _BLOCK_FRAMES])
    return content.getvalue()


def _checkpoints() -> Iterable[bytes]:
    state = {"mlp.4.weight": torch.zeros(3, 4), "gnn.conv1.att_src": torch.zeros(1, 2, 4)}
    for value in (state, {"state": state, "epoch": 3}, [torch.ones(2).half()]):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(value, file, _use_new_zipfile_serialization=zipped)
            yield file.getvalue()


def _features() -> Iterable[bytes]:
    arrays: tuple[Callable[[int], Any], ...] = (torch.zeros, lambda n: np.zeros(n, np.float32))
    for zeros in arrays:
        row = {"text_embed": zeros(2), "audio_embed": zeros(3), "label": 1}
        for protocol in (2, 4):
            yield pickle.dumps([row] * 2, protocol=protocol)
    yield json.dumps([]).encode()
