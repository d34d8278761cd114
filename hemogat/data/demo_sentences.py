"""The sentences of the demo corpus: one grammar for every emotion, other words in its slots.

All emotions share the frames, subjects, things and times; the emotion shows in the slots of
:class:`Lexicon` alone, of which every sentence holds two. So a text model has to learn words, not
frames, and meets them in new combinations in the test split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Lexicon:
    """The words of one emotion, by the slot that they fill."""

    feeling: tuple[str, ...]
    quality: tuple[str, ...]
    deed: tuple[str, ...]
    remark: tuple[str, ...]


LEXICONS: dict[str, Lexicon] = {
    "angry": Lexicon(
        feeling=("furious", "angry", "livid", "outraged", "annoyed", "mad"),
        quality=("rotten", "stupid", "unfair", "disgusting", "outrageous", "useless"),
        deed=("ruined", "wrecked", "smashed", "hated", "cursed", "insulted"),
        remark=("how dare you", "stop it now", "get out", "shame on you"),
    ),
    "happy": Lexicon(
        feeling=("delighted", "happy", "thrilled", "cheerful", "excited", "glad"),
        quality=("wonderful", "lovely", "fantastic", "brilliant", "perfect", "charming"),
        deed=("loved", "enjoyed", "adored", "celebrated", "praised", "treasured"),
        remark=("what a joy", "hooray", "lucky us", "this is great"),
    ),
    "neutral": Lexicon(
        feeling=("asking", "talking", "reading", "writing", "thinking", "hearing"),
        quality=("usual", "ordinary", "local", "regular", "weekly", "short"),
        deed=("checked", "planned", "mentioned", "described", "changed", "noted"),
        remark=("as agreed", "by the way", "for the record", "of course"),
    ),
    "sad": Lexicon(
        feeling=("heartbroken", "sad", "miserable", "tearful", "gloomy", "sorry"),
        quality=("tragic", "hopeless", "lonely", "painful", "bleak", "mournful"),
        deed=("mourned", "missed", "lost", "regretted", "abandoned", "buried"),
        remark=("what a pity", "I could cry", "all is over", "poor me"),
    ),
}

_SUBJECTS = (
    ("I", "I was"),
    ("we", "we were"),
    ("they", "they were"),
    ("my brother", "my brother was"),
    ("the neighbours", "the neighbours were"),
    ("her teacher", "her teacher was"),
)
_THINGS = (
    *("dinner", "letter", "meeting", "holiday", "garden", "movie", "report", "party"),
    *("concert", "ticket", "lesson", "journey", "picture", "kitchen", "story", "weekend"),
)
_TIMES = ("today", "yesterday", "again", "this morning", "last night", "on Sunday")
_FRAMES = (
    "{subject} {deed} the {quality} {thing} {time}",
    "{subject_was} {feeling} about the {quality} {thing}",
    "{time} {subject_was} {feeling}, {remark}",
    "the {thing} was {quality}, {remark}",
    "{subject} {deed} the {thing}, {remark}",
    "{remark}, the {quality} {thing} came {time}",
)


class SentenceMaker:
    """Draws sentences, never the same one twice."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._drawn: set[str] = set()

    def draw(self, emotion: str) -> str:
        """Return a new sentence with the words of ``emotion``, one of some 30,000."""
        while (sentence := self._compose(LEXICONS[emotion])) in self._drawn:
            pass
        self._drawn.add(sentence)
        return sentence

    def _compose(self, lexicon: Lexicon) -> str:
        subject, subject_was = _SUBJECTS[self._rng.integers(len(_SUBJECTS))]
        sentence = self._pick(_FRAMES).format(
            subject=subject,
            subject_was=subject_was,
            thing=self._pick(_THINGS),
            time=self._pick(_TIMES),
            feeling=self._pick(lexicon.feeling),
            quality=self._pick(lexicon.quality),
            deed=self._pick(lexicon.deed),
            remark=self._pick(lexicon.remark),
        )
        return sentence[0].upper() + sentence[1:] + "."

    def _pick(self, words: tuple[str, ...]) -> str:
        return words[self._rng.integers(len(words))]
