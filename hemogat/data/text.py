"""Text: what may come in, and how it becomes token ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from hemogat.config import TextConfig
from hemogat.errors import BundleError, ConfigError, InputError


@dataclass(frozen=True)
class TokenizedText:
    """One utterance's tokens, padded to a bucket of T tokens."""

    input_ids: NDArray[np.int64]  # [T]
    attention_mask: NDArray[np.int64]  # [T], 1 for tokens, 0 for padding


class TextTokenizer:
    """Turns text into token ids: truncated at ``max_tokens``, padded to one of few lengths."""

    def __init__(self, tokenizer_json: str | Path, config: TextConfig) -> None:
        """Read the tokenizer; truncation and padding stored in the file are not used.

        Raises:
            BundleError: the file is missing, not a tokenizer, or names no padding token.
            ConfigError: ``config.max_tokens`` leaves no room beside the special tokens.
        """
        self._config = config
        self._tokenizer, self._pad_id = read_tokenizer(Path(tokenizer_json))
        special_tokens = self._tokenizer.num_special_tokens_to_add(False)
        if config.max_tokens <= special_tokens:
            raise ConfigError(
                f"text.max_tokens is {config.max_tokens}; expected more than the "
                f"{special_tokens} special tokens that {tokenizer_json} adds to every text"
            )
        self._tokenizer.enable_truncation(config.max_tokens)
        self._tokenizer.no_padding()

    @property
    def last_token(self) -> int:
        """The largest id that a text can become."""
        return max(self._tokenizer.get_vocab().values())

    def encode(self, text: str) -> TokenizedText:
        """Tokenise one text; the answer depends on nothing but the text.

        Returns:
            Ids and mask, int64 [T], T the smallest of ``config.token_buckets`` that holds them.

        Raises:
            InputError: the text is blank, too long or not valid (see :func:`clean_text`).
        """
        text = clean_text(text, self._config)
        if not text:
            raise InputError("text: is blank; expected words")
        ids = self._tokenizer.encode(text).ids
        length = next(bucket for bucket in self._config.token_buckets if bucket >= len(ids))
        input_ids = np.full(length, self._pad_id, dtype=np.int64)
        input_ids[: len(ids)] = ids
        attention_mask = np.zeros(length, dtype=np.int64)
        attention_mask[: len(ids)] = 1
        return TokenizedText(input_ids, attention_mask)


def clean_text(text: str | bytes, config: TextConfig, *, name: str = "text") -> str:
    """Check a text and collapse its whitespace; one without a visible character becomes "".

    Args:
        text: the text, or its UTF-8 bytes.
        config: the limits to hold it to.
        name: what to call it in errors.

    Raises:
        InputError: the text is not valid Unicode, holds null characters, or has more than
            ``config.max_text_bytes`` bytes in UTF-8.
    """
    try:
        encoded = text.encode("utf-8") if isinstance(text, str) else text
        decoded = encoded.decode("utf-8")
    except UnicodeError as error:
        raise InputError(f"{name}: is not valid UTF-8 ({error})") from error
    if len(encoded) > config.max_text_bytes:
        raise InputError(
            f"{name}: has {len(encoded)} bytes; expected at most {config.max_text_bytes} "
            "(text.max_text_bytes)"
        )
    if "\0" in decoded:
        raise InputError(f"{name}: holds null characters; expected plain text")
    words = decoded.split()
    has_visible = any(character.isprintable() for word in words for character in word)
    return " ".join(words) if has_visible else ""


def batch_tokens(
    items: Sequence[TokenizedText],
) -> list[tuple[list[int], NDArray[np.int64], NDArray[np.int64]]]:
    """Group texts of equal length, so that none is padded because of its batch mates.

    Returns:
        For each length T, shortest first: the positions in ``items``, their ids [B, T] and their
        attention masks [B, T].
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for position, item in enumerate(items):
        groups[len(item.input_ids)].append(position)
    return [
        (
            positions,
            np.stack([items[position].input_ids for position in positions]),
            np.stack([items[position].attention_mask for position in positions]),
        )
        for _, positions in sorted(groups.items())
    ]


def read_tokenizer(path: Path) -> tuple[Tokenizer, int]:
    """Return the tokenizer and the id of its padding token.

    Raises:
        BundleError: the file cannot be read, is no tokenizer or names no padding token.
    """
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # tokenizers raises bare Exception for a file it cannot use
        reason = " ".join(str(error).split())
        raise BundleError(f"{path}: is not a tokenizer.json ({reason})") from error
    padding = tokenizer.padding
    pad_id = tokenizer.token_to_id("[PAD]") if padding is None else padding["pad_id"]
    if pad_id is None:
        raise BundleError(f"{path}: names no padding token; expected a padding entry or [PAD]")
    return tokenizer, int(pad_id)
