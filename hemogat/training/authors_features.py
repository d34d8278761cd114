"""The authors' feature files: ``{dataset}_BERT_WAV2VEC_{split}.pkl``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hemogat.errors import InputError
from hemogat.model.bank import Embeddings
from hemogat.training.restricted_pickle import as_tensor, load_arrays
from hemogat.training.run_directory import Features

_KEYS = ("text_embed", "audio_embed", "label")


def read_authors_features(path: Path, *, audio_dim: int, text_dim: int, labels: int) -> Features:
    """Read one split: a pickled list of dicts ``text_embed``, ``audio_embed``, ``label``.

    Embeddings are tensors or numpy arrays of the shape [d] or [1, d]; labels are numbers below
    ``labels``. Nothing else is admitted (:mod:`hemogat.training.restricted_pickle`).

    Raises:
        InputError: the file cannot be read, asks for anything but arrays, or a row does not fit;
            names the row.
    """
    rows = load_arrays(path)
    if not isinstance(rows, list) or not rows:
        raise InputError(
            f"{path}: expected a list of utterances (dicts of {', '.join(_KEYS)}), "
            f"found {'an empty list' if rows == [] else type(rows).__name__}"
        )
    texts, sounds, numbers = [], [], []
    for number, row in enumerate(rows):
        where = f"{path}: row {number}"
        if not isinstance(row, dict) or not set(_KEYS) <= set(row):
            found = _keys(row) if isinstance(row, dict) else type(row).__name__
            raise InputError(f"{where}: expected a dict of {', '.join(_KEYS)}, found {found:.80}")
        texts.append(_embedding(row["text_embed"], text_dim, f"{where}: text_embed"))
        sounds.append(_embedding(row["audio_embed"], audio_dim, f"{where}: audio_embed"))
        numbers.append(_label(row["label"], labels, f"{where}: label"))
    present = torch.ones(len(rows), 2, dtype=torch.bool)
    embeddings = Embeddings(torch.stack(sounds), torch.stack(texts), present)
    return Features(embeddings, torch.tensor(numbers))


def _keys(row: Mapping[object, object]) -> str:
    """Return the keys of a row on one line, whatever the file has made them of."""
    names = (key if isinstance(key, str) else type(key).__name__ for key in row)
    return " ".join(", ".join(names).split())


def _embedding(value: object, width: int, where: str) -> Tensor:
    tensor = as_tensor(value)
    if tensor is None:
        raise InputError(f"{where}: expected a tensor or array, found {type(value).__name__}")
    if tuple(tensor.shape) not in ((width,), (1, width)):
        raise InputError(f"{where}: expected [{width}], found {list(tensor.shape)}")
    tensor = tensor.reshape(width).to(torch.float32)
    if not tensor.isfinite().all():
        raise InputError(f"{where}: holds values that are not finite; extract it again")
    return tensor


def _label(value: object, labels: int, where: str) -> int:
    tensor = as_tensor(value)
    if tensor is not None and tensor.numel() == 1 and not tensor.is_floating_point():
        value = int(tensor)
    if not isinstance(value, int) or not 0 <= value < labels:
        found = value if isinstance(value, int | float | str) else type(value).__name__
        raise InputError(f"{where}: expected a number from 0 to {labels - 1}, found {found!r:.40}")
    return value
