from __future__ import annotations

from hemogat.training.tokenizer_training import train_tokenizer

TEXTS = ["Stop that right now!", "she left us alone", "the table is brown"] * 3


def test_a_tokenizer_is_berts() -> None:
    tokenizer = train_tokenizer(TEXTS, vocab_size=100)
    encoded = tokenizer.encode("The TABLE is brown")
    assert (encoded.tokens[0], encoded.tokens[-1]) == ("[CLS]", "[SEP]")
    assert encoded.tokens[1:-1] == ["the", "table", "is", "brown"]
    assert encoded.ids == tokenizer.encode("the table  is brown").ids
    assert "[UNK]" in tokenizer.encode("ξ").tokens
    assert tokenizer.token_to_id("[PAD]") == 0


def test_the_vocabulary_is_no_larger_than_asked_for() -> None:
    small, large = (train_tokenizer(TEXTS, vocab_size=size) for size in (40, 1000))
    assert small.get_vocab_size() == 40 < large.get_vocab_size() < 1000


def test_the_same_texts_give_the_same_tokenizer() -> None:
    # Many words of equal counts: ties that the order of a hash table would decide.
    one, other = (train_tokenizer(TEXTS, vocab_size=60).to_str() for _ in range(2))
    assert one == other


def test_text_that_looks_like_a_piece_of_a_word_is_text() -> None:
    tokenizer = train_tokenizer([*TEXTS, "# 1", "a1"], vocab_size=100)
    assert "##e" in tokenizer.get_vocab()
    assert tokenizer.encode("##e").tokens == ["[CLS]", "#", "#", "e", "[SEP]"]
