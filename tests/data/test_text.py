from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from hemogat.config import TextConfig
from hemogat.data.text import TextTokenizer, TokenizedText, batch_tokens, clean_text
from hemogat.errors import BundleError, ConfigError, InputError

CONFIG = TextConfig()
SENTENCES = [
    "i am so happy to see you today",
    "why did you do that to me",
    "the train leaves at seven from the old station",
    "please leave me alone, i feel terrible",
]
PAD, UNK, CLS, SEP = range(4)


def train_tokenizer(special_tokens: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")) -> str:
    """Train a tiny WordPiece tokenizer and return its tokenizer.json."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=120, special_tokens=list(special_tokens), show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer.to_str()


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(train_tokenizer(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer(tokenizer_json: Path) -> TextTokenizer:
    return TextTokenizer(tokenizer_json, CONFIG)


@pytest.fixture(scope="module")
def reference(tokenizer_json: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer_json), pad_token="[PAD]"
    )


WORDS = st.lists(st.sampled_from([*" ".join(SENTENCES).split(), "zürich", "x9", "…", "😀"]))


class TestEncode:
    @pytest.mark.parametrize(
        ("words", "bucket", "tokens"),
        [
            (1, 16, 3),
            (14, 16, 16),
            (15, 32, 17),
            (30, 32, 32),
            (31, 64, 33),
            (62, 64, 64),
            (63, 128, 65),
            (126, 128, 128),
            (127, 128, 128),
            (5000, 128, 128),
        ],
    )
    def test_buckets_and_truncation(
        self, tokenizer: TextTokenizer, words: int, bucket: int, tokens: int
    ) -> None:
        result = tokenizer.encode("me " * words)

        assert result.input_ids.dtype == result.attention_mask.dtype == np.int64
        assert result.input_ids.shape == result.attention_mask.shape == (bucket,)
        assert result.attention_mask.tolist() == [1] * tokens + [0] * (bucket - tokens)
        assert result.input_ids[0] == CLS
        assert result.input_ids[tokens - 1] == SEP
        assert len(set(result.input_ids[1 : tokens - 1])) == 1
        assert (result.input_ids[tokens:] == PAD).all()

    def test_buckets_need_not_end_at_max_tokens(self, tokenizer_json: Path) -> None:
        config = TextConfig(max_tokens=10, token_buckets=(4, 12))
        tokenizer = TextTokenizer(tokenizer_json, config)

        assert tokenizer.encode("me " * 2).attention_mask.tolist() == [1] * 4
        assert tokenizer.encode("me " * 50).attention_mask.tolist() == [1] * 10 + [0] * 2

    @settings(max_examples=50, deadline=None)
    @given(words=WORDS.filter(bool), length=st.sampled_from([5, 20, 128]))
    def test_equals_transformers(
        self, tokenizer_json: Path, reference: Any, words: list[str], length: int
    ) -> None:
        text = " ".join(words)
        config = TextConfig(max_tokens=length, token_buckets=(length,))

        ours = TextTokenizer(tokenizer_json, config).encode(text)

        theirs = reference(text, truncation=True, max_length=length, padding="max_length")
        assert ours.input_ids.tolist() == theirs["input_ids"]
        assert ours.attention_mask.tolist() == theirs["attention_mask"]

    def test_truncation_and_padding_of_the_file_are_not_used(
        self, tokenizer_json: Path, tokenizer: TextTokenizer, tmp_path: Path
    ) -> None:
        stored = Tokenizer.from_file(str(tokenizer_json))
        stored.enable_truncation(4, direction="left")
        stored.enable_padding(length=70, direction="left", pad_id=PAD, pad_token="[PAD]")
        path = tmp_path / "tokenizer.json"
        stored.save(str(path))

        for text in SENTENCES:
            ours, plain = TextTokenizer(path, CONFIG).encode(text), tokenizer.encode(text)
            np.testing.assert_array_equal(ours.input_ids, plain.input_ids)
            np.testing.assert_array_equal(ours.attention_mask, plain.attention_mask)

    @settings(max_examples=50, deadline=None)
    @given(before=st.lists(WORDS, max_size=5), words=WORDS.filter(bool))
    def test_answer_does_not_depend_on_what_came_before(
        self, tokenizer_json: Path, before: list[list[str]], words: list[str]
    ) -> None:
        used, fresh = TextTokenizer(tokenizer_json, CONFIG), TextTokenizer(tokenizer_json, CONFIG)
        for earlier in filter(None, before):
            used.encode(" ".join(earlier))

        ours, expected = used.encode(" ".join(words)), fresh.encode(" ".join(words))

        np.testing.assert_array_equal(ours.input_ids, expected.input_ids)
        np.testing.assert_array_equal(ours.attention_mask, expected.attention_mask)

    def test_whitespace_does_not_matter(self, tokenizer: TextTokenizer) -> None:
        ours = tokenizer.encode("\n why\tdid   you ")
        np.testing.assert_array_equal(ours.input_ids, tokenizer.encode("why did you").input_ids)

    @pytest.mark.parametrize("text", ["", " ", "\t\n", "\u3000", "\u200b", "\x01 \u200d"])
    def test_blank(self, tokenizer: TextTokenizer, text: str) -> None:
        with pytest.raises(InputError, match=r"^text: is blank; expected words$"):
            tokenizer.encode(text)

    def test_invalid(self, tokenizer: TextTokenizer) -> None:
        with pytest.raises(InputError, match="not valid UTF-8"):
            tokenizer.encode("a\ud800b")
        with pytest.raises(InputError, match="null characters"):
            tokenizer.encode("a\0b")
        with pytest.raises(InputError, match="expected at most 65536"):
            tokenizer.encode("a" * 65537)

    @settings(max_examples=100, deadline=None)
    @given(text=st.text(max_size=300))
    def test_any_text_is_encoded_or_refused(self, tokenizer: TextTokenizer, text: str) -> None:
        try:
            result = tokenizer.encode(text)
        except InputError:
            assert "\0" in text or not clean_text(text, CONFIG)
        else:
            assert len(result.input_ids) in CONFIG.token_buckets


class TestTokenizerFile:
    def test_pad_id_of_the_padding_entry_comes_first(
        self, tokenizer_json: Path, tmp_path: Path
    ) -> None:
        stored = Tokenizer.from_file(str(tokenizer_json))
        stored.enable_padding(pad_id=UNK, pad_token="[UNK]")
        stored.save(str(tmp_path / "tokenizer.json"))

        result = TextTokenizer(tmp_path / "tokenizer.json", CONFIG).encode("me")

        assert result.input_ids[-1] == UNK

    def test_pad_token_elsewhere_in_the_vocabulary(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(train_tokenizer(("[UNK]", "[CLS]", "[SEP]", "[PAD]")), encoding="utf-8")
        assert TextTokenizer(str(path), CONFIG).encode("me").input_ids[-1] == 3

    def test_no_pad_token(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text(train_tokenizer(("[UNK]", "[CLS]", "[SEP]")), encoding="utf-8")
        with pytest.raises(BundleError, match=r"tokenizer\.json: names no padding token"):
            TextTokenizer(path, CONFIG)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match=r"none\.json: cannot be read \(No such file"):
            TextTokenizer(tmp_path / "none.json", CONFIG)

    @pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b"\xff\xfe", b'{"model": {}}'])
    def test_not_a_tokenizer(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "bad.json"
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"bad\.json: is not a tokenizer\.json \(.+\)$"):
            TextTokenizer(path, CONFIG)

    def test_max_tokens_must_leave_room(self, tokenizer_json: Path) -> None:
        config = TextConfig(max_tokens=2, token_buckets=(16,))
        with pytest.raises(ConfigError, match="expected more than the 2 special tokens"):
            TextTokenizer(tokenizer_json, config)


class TestCleanText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("hello", "hello"),
            ("  why \t did\r\nyou\u3000go ", "why did you go"),
            (b"caf\xc3\xa9 \n", "café"),
            ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
            ("", ""),
            (b" \n", ""),
            ("\ufeff\u200b", ""),
        ],
    )
    def test_whitespace(self, text: str | bytes, expected: str) -> None:
        assert clean_text(text, CONFIG) == expected

    def test_limit_counts_bytes(self) -> None:
        config = TextConfig(max_text_bytes=4)
        assert clean_text("éé", config) == "éé"
        with pytest.raises(InputError, match=r"^TEXT: has 6 bytes; expected at most 4 "):
            clean_text("ééé", config, name="TEXT")
        with pytest.raises(InputError, match="has 5 bytes"):
            clean_text(b"     ", config)

    @pytest.mark.parametrize("text", [b"\xff", b"caf\xc3", b"\xed\xa0\x80", "\udcff"])
    def test_not_unicode(self, text: str | bytes) -> None:
        with pytest.raises(InputError, match=r"^text: is not valid UTF-8 \(.*\)$"):
            clean_text(text, CONFIG)

    @pytest.mark.parametrize("text", ["a\0", b"\0", "\0\0 "])
    def test_null(self, text: str | bytes) -> None:
        with pytest.raises(InputError, match=r"^text: holds null characters"):
            clean_text(text, CONFIG)

    @given(text=st.text())
    def test_idempotent_and_the_same_for_bytes(self, text: str) -> None:
        text = text.replace("\0", "")
        cleaned = clean_text(text, CONFIG)
        assert clean_text(cleaned, CONFIG) == cleaned
        assert clean_text(text.encode(), CONFIG) == cleaned

    @given(text=st.binary(max_size=50))
    def test_any_bytes(self, text: bytes) -> None:
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            decoded = "\0"
        if "\0" in decoded:
            with pytest.raises(InputError):
                clean_text(text, CONFIG)
        else:
            assert clean_text(text, CONFIG) == clean_text(decoded, CONFIG)


class TestBatchTokens:
    @given(lengths=st.lists(st.sampled_from([16, 32, 64, 128])))
    def test_every_text_once_and_unchanged(self, lengths: list[int]) -> None:
        items = [
            TokenizedText(np.full(length, position), np.arange(length) % 2)
            for position, length in enumerate(lengths)
        ]

        batches = batch_tokens(items)

        assert [ids.shape[1] for _, ids, _ in batches] == sorted(set(lengths))
        assert sorted(p for positions, _, _ in batches for p in positions) == list(
            range(len(items))
        )
        for positions, input_ids, attention_mask in batches:
            assert input_ids.shape == attention_mask.shape
            for position, ids, mask in zip(positions, input_ids, attention_mask, strict=True):
                np.testing.assert_array_equal(ids, items[position].input_ids)
                np.testing.assert_array_equal(mask, items[position].attention_mask)

    def test_positions_keep_their_order(self) -> None:
        items = [TokenizedText(np.zeros(n, np.int64), np.ones(n, np.int64)) for n in (32, 16, 32)]
        assert [positions for positions, _, _ in batch_tokens(items)] == [[1], [0, 2]]
