"""Trying a bundle out: what its graphs do is compared with what its manifest says they do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hemogat.data.text import TokenizedText
from hemogat.errors import BundleError, HemogatError
from hemogat.runtime.bundle import MANIFEST_FILE
from hemogat.runtime.preprocess import PreparedUtterance

if TYPE_CHECKING:
    from hemogat.runtime.pipeline import Pipeline


def try_out(pipeline: Pipeline) -> None:
    """Classify one made-up utterance, as long as a text may be, of the tokenizer's last token.

    Fitting hashes say nothing about facts that contradict each other; here they show once, with
    the bundle's name, and not in the middle of some request.

    Raises:
        BundleError: the graphs do not run on what the manifest names, or answer in other shapes.
    """
    manifest = pipeline.bundle.manifest
    try:
        utterance = [_utterance(pipeline)]
        audio, text = pipeline.embed_audio(utterance), pipeline.embed_text(utterance)
        answers = pipeline.fuse(list(zip(audio, text, strict=True)))
        found = {
            "audio_embedding": None if audio[0] is None else audio[0].shape,
            "text_embedding": None if text[0] is None else text[0].shape,
            "probabilities": answers["probabilities"].shape,
        }
        slots = answers["neighbours"].shape[1] if "neighbours" in answers else 0
    except (HemogatError, MemoryError):  # the latter says nothing of the bundle
        raise
    except Exception as error:  # each engine has errors of its own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise BundleError(
            f"{pipeline.bundle.path}: its graphs do not run as {MANIFEST_FILE} says "
            f"({reason:.300}); export the bundle again"
        ) from error
    expected = {
        "audio_embedding": (manifest.dims.audio,) if "audio" in manifest.modalities else None,
        "text_embedding": (manifest.dims.text,) if "text" in manifest.modalities else None,
        "probabilities": (1, len(manifest.labels)),
    }
    for name, shape in expected.items():
        if found[name] != shape:
            raise BundleError(
                f"{pipeline.bundle.path}: {MANIFEST_FILE} promises {name} of shape {shape}, its "
                f"graphs give {found[name]}; export the bundle again"
            )
    if slots not in (0, manifest.slots):
        raise BundleError(
            f"{pipeline.bundle.path}: {MANIFEST_FILE} promises {manifest.slots} neighbours, its "
            f"graphs give {slots}; export the bundle again"
        )


def _utterance(pipeline: Pipeline) -> PreparedUtterance:
    manifest = pipeline.bundle.manifest
    windows = tokens = None
    if "audio" in manifest.modalities:
        windows = np.zeros((1, manifest.audio.window_samples), np.float32)
    if "text" in manifest.modalities:
        length = manifest.text.token_buckets[-1]
        last = np.full(length, pipeline.preprocessor.last_token, np.int64)
        tokens = TokenizedText(last, np.ones(length, np.int64))
    return PreparedUtterance(windows, tokens)
