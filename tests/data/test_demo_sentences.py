from __future__ import annotations

from collections import Counter
from dataclasses import astuple

import numpy as np
import pytest

from hemogat.data.demo_sentences import LEXICONS, SentenceMaker

FILLERS = {
    emotion: {phrase.lower() for slot in astuple(lexicon) for phrase in slot}
    for emotion, lexicon in LEXICONS.items()
}


def test_no_filler_belongs_to_two_emotions() -> None:
    owners = Counter(filler for fillers in FILLERS.values() for filler in fillers)
    assert max(owners.values()) == 1


@pytest.mark.parametrize("emotion", LEXICONS)
def test_a_sentence_holds_two_fillers_of_its_emotion_and_none_of_others(emotion: str) -> None:
    sentences = SentenceMaker(np.random.default_rng(1))
    for sentence in (sentences.draw(emotion) for _ in range(200)):
        padded = " " + sentence.lower().replace(",", " ").replace(".", " ") + " "
        held = {
            owner: sum(f" {filler} " in padded for filler in fillers)
            for owner, fillers in FILLERS.items()
        }
        assert held.pop(emotion) == 2, sentence
        assert not any(held.values()), sentence
        assert 4 <= len(sentence.split()) <= 10
        assert sentence[0].isupper()
        assert sentence.endswith(".")


def test_sentences_never_repeat() -> None:
    sentences = SentenceMaker(np.random.default_rng(2))
    drawn = [sentences.draw("sad") for _ in range(1000)]
    assert len(set(drawn)) == len(drawn)


def test_the_generator_decides() -> None:
    first, second, other = (SentenceMaker(np.random.default_rng(seed)) for seed in (3, 3, 4))
    drawn = [first.draw(emotion) for emotion in LEXICONS]
    assert [second.draw(emotion) for emotion in LEXICONS] == drawn
    assert [other.draw(emotion) for emotion in LEXICONS] != drawn
