"""A WordPiece tokenizer from the training texts, for text encoders trained from scratch."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn a lower-casing BERT tokenizer of at most ``vocab_size`` tokens.

    The same texts give the same tokenizer.
    """
    texts = list(texts)
    learner = _tokenizer(WordPiece(unk_token="[UNK]"))
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        # The trainer numbers inner letters in the order of a hash table, another one each time,
        # and breaks ties by these numbers. Named here, they are numbered as they stand.
        special_tokens=[*_SPECIAL, *_inner_letters(learner, texts)],
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    # Anew, because the letters must not be special tokens: no text could hold them.
    tokenizer = _tokenizer(WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _tokenizer(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _inner_letters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return every letter that stands inside a word, as WordPiece writes it: ``##e``."""
    words = (
        word
        for text in texts
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(
            tokenizer.normalizer.normalize_str(text)
        )
    )
    return [f"##{letter}" for letter in sorted({letter for word in words for letter in word[1:]})]
