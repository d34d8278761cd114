from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from hemogat.config import TextConfig
from hemogat.data.text import TextTokenizer
from hemogat.model.pretrained import save_tokenizer

TEXT = TextConfig(max_tokens=8, token_buckets=(4, 8))


@pytest.mark.parametrize("pad", ["[PAD]", "<pad>"])  # BERT's, RoBERTa's
def test_a_saved_tokenizer_names_its_padding_token(pad: str, tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"?": 0, pad: 1, "hello": 2, "there": 3, "you": 4}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    theirs = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?", pad_token=pad)
    theirs.save_pretrained(tmp_path / "model")
    path = tmp_path / "tokenizer.json"
    assert save_tokenizer(str(tmp_path / "model"), "text_encoder", path) == 5
    found = TextTokenizer(path, TEXT).encode("hello you there")
    assert found.input_ids.tolist() == [2, 4, 3, 1]
    assert found.attention_mask.tolist() == [1, 1, 1, 0]
    assert len(TextTokenizer(path, TEXT).encode("hello " * 5).input_ids) == 8
