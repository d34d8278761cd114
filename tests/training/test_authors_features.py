from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hemogat.errors import InputError
from hemogat.training.authors_features import read_authors_features
from hemogat.training.run_directory import Features

Rows = list[dict[str, Any]]


@pytest.fixture
def read(tmp_path: Path) -> Callable[[object], Features]:
    """Pickle something and read it as features of 6 and 5 numbers and three labels."""

    def through_a_file(content: object) -> Features:
        path = tmp_path / "X_BERT_WAV2VEC_test.pkl"
        path.write_bytes(pickle.dumps(content))
        return read_authors_features(path, audio_dim=6, text_dim=5, labels=3)

    return through_a_file


def rows(count: int = 4) -> Rows:
    """Return rows as the authors' extraction writes them."""
    return [
        {
            "text_embed": torch.randn(5),
            "audio_embed": torch.randn(6),
            "label": torch.tensor(number % 3),
        }
        for number in range(count)
    ]


def test_rows_become_features(read: Callable[[object], Features]) -> None:
    made = rows()
    found = read(made)
    assert found.labels.tolist() == [0, 1, 2, 0]
    assert found.embeddings.present.all()
    assert torch.equal(found.embeddings.text, torch.stack([row["text_embed"] for row in made]))
    assert torch.equal(found.embeddings.audio, torch.stack([row["audio_embed"] for row in made]))


@pytest.mark.parametrize(
    "text", [np.arange(5.0), np.arange(5.0, dtype=np.float32)[None], torch.arange(5.0)[None]]
)
@pytest.mark.parametrize("label", [2, np.int64(2), torch.tensor([2]), np.array(2)])
def test_every_way_to_write_a_row(
    read: Callable[[object], Features], text: object, label: object
) -> None:
    found = read([{"text_embed": text, "audio_embed": np.zeros(6), "label": label}])
    assert found.embeddings.text.tolist() == [[0.0, 1.0, 2.0, 3.0, 4.0]]
    assert found.embeddings.text.dtype == torch.float32
    assert found.labels.tolist() == [2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_embed": None}, "text_embed: expected a tensor or array, found NoneType"),
        ({"text_embed": [1.0] * 5}, "text_embed: expected a tensor or array, found list"),
        ({"text_embed": torch.zeros(6)}, "text_embed: expected [5], found [6]"),
        ({"audio_embed": np.zeros((6, 1))}, "audio_embed: expected [6], found [6, 1]"),
        (
            {"audio_embed": torch.zeros(1).expand(10**12)},
            "audio_embed: expected [6], found [1000000000000]",
        ),
        ({"audio_embed": torch.full((6,), torch.nan)}, "audio_embed: holds values that are not"),
        ({"label": 3}, "label: expected a number from 0 to 2, found 3"),
        ({"label": torch.tensor(-1)}, "label: expected a number from 0 to 2, found -1"),
        ({"label": torch.tensor(1.5)}, "label: expected a number from 0 to 2, found"),
        ({"label": torch.zeros(2).long()}, "label: expected a number from 0 to 2, found"),
        ({"label": "sad"}, "label: expected a number from 0 to 2, found 'sad'"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    read: Callable[[object], Features], change: dict[str, object], message: str
) -> None:
    made = rows()
    made[2] |= change
    with pytest.raises(InputError) as caught:
        read(made)
    assert f"X_BERT_WAV2VEC_test.pkl: row 2: {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([], "found an empty list"),
        ({"a": 1}, "found dict"),
        ([1], "row 0: expected a dict of text_embed, audio_embed, label, found int"),
        ([{"label": 1}], "row 0: expected a dict of text_embed, audio_embed, label, found label"),
        ([{"a\nb": 1, ("c", np.zeros((9, 9)).tobytes()): 2}], "label, found a b, tuple"),
    ],
)
def test_something_else_than_rows_is_refused(
    read: Callable[[object], Features], content: object, found: str
) -> None:
    with pytest.raises(InputError) as caught:
        read(content)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


def test_a_malicious_row_is_refused_by_name(
    read: Callable[[object], Features], tmp_path: Path
) -> None:
    made = rows()
    made[3]["label"] = Malicious(tmp_path / "ran")
    with pytest.raises(InputError, match=rf"calls for {os.name}\.mkdir"):
        read(made)
    assert not (tmp_path / "ran").exists()
