"""A corpus as it lies on a disk, and how it becomes a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hemogat.data.manifest import Manifest, Split, Utterance, read_manifest, write_manifest
from hemogat.data.problems import all_problems
from hemogat.errors import InputError

# What Windows-1252 has where Unicode has control characters that no text needs: apostrophes,
# quotation marks, dashes. Texts that were read as Latin-1 once carry them as control characters.
_FROM_C1 = {
    code: decoded
    for code in range(0x80, 0xA0)
    if (decoded := bytes([code]).decode("cp1252", errors="ignore"))
}


@dataclass(frozen=True)
class Corpus:
    """What was found under ``root``.

    ``utterances``: those that can be used; a reader that knows no split says train for all.
    ``left_out``: how many have a label that is none of ``labels``, by that label.
    ``bad``: those that cannot be used, and why.
    """

    root: Path
    labels: tuple[str, ...]
    utterances: tuple[Utterance, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    bad: tuple[str, ...] = ()

    def without_bad(self) -> Corpus:
        """Return the corpus if nothing in it is bad.

        Raises:
            InputError: something is; carries every such utterance.
        """
        if self.bad:
            raise InputError(all_problems(self.root, self.bad), self.bad)
        return self

    def split_by(self, splits: Mapping[str, Split]) -> Corpus:
        """Return the corpus of those utterances whose ids ``splits`` has, in these splits."""
        kept = tuple(
            replace(utterance, split=splits[utterance.id])
            for utterance in self.utterances
            if utterance.id in splits
        )
        return replace(self, utterances=kept)


def write_corpus(corpus: Corpus, out: Path) -> Manifest:
    """Write the corpus's manifest, and read it again, as training will.

    Raises:
        InputError: there are no utterances to train on, an id stands for two of them, or the file
            cannot be written.
    """
    train = [utterance for utterance in corpus.utterances if utterance.split == "train"]
    if not train:
        raise InputError(
            f"{corpus.root}: holds no utterances for the train split (labels: "
            f"{', '.join(corpus.labels)}); is this the right folder?"
        )
    twice = repeated(utterance.id for utterance in corpus.utterances)
    if twice:
        problems = [f"id {name!r} stands for more than one utterance" for name in twice]
        raise InputError(all_problems(corpus.root, problems), problems)
    write_manifest(out, corpus.utterances)
    return read_manifest(out, corpus.labels)


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that come more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def read_legacy_text(path: Path) -> str:
    """Read a text file in UTF-8 or Windows-1252.

    Control characters that stand for characters of Windows-1252 (as U+0092 for an apostrophe)
    become these characters.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig").translate(_FROM_C1)
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is neither UTF-8 nor Windows-1252 text ({error})") from error
