"""Splits of corpora that come without: seeded, and the same on every machine.

Utterances are drawn by the hash of seed and id, so neither their order nor a library's random
numbers matter, and one utterance more changes the place of few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from hemogat.data.manifest import Split, Utterance

SHARE = 0.1  # of all utterances or speakers, for validation and for test each


def stratified(
    utterances: Iterable[Utterance], seed: int, *, test_share: float = SHARE
) -> dict[str, Split]:
    """Split every label's utterances alike: :data:`SHARE` for validation, the rest for training.

    A label of at least three utterances is in every split that has a share. Speakers are mixed.

    Args:
        utterances: what to split.
        seed: another one gives another split.
        test_share: of every label for test; 0 for none.

    Returns:
        The split of each id.
    """
    ids_by_label: dict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        ids_by_label[utterance.label].append(utterance.id)
    splits: dict[str, Split] = {}
    for ids in ids_by_label.values():
        splits |= _draw(ids, seed, test_share)
    return splits


def speaker_disjoint(utterances: Iterable[Utterance], seed: int) -> dict[str, Split]:
    """Split by speaker: :data:`SHARE` of the speakers for validation, as many for test.

    Both get at least one speaker if there are three. Labels are distributed as they come.

    Returns:
        The split of each id.
    """
    utterances = list(utterances)
    of_speaker = _draw({utterance.speaker for utterance in utterances}, seed, SHARE)
    return {utterance.id: of_speaker[utterance.speaker] for utterance in utterances}


def _draw(names: Iterable[str], seed: int, test_share: float) -> dict[str, Split]:
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"{seed}\0{name}".encode()).digest())
    at_least = 1 if len(ranked) >= 3 else 0
    val = max(at_least, round(SHARE * len(ranked)))
    test = max(at_least, round(test_share * len(ranked))) if test_share else 0
    return {
        name: "test" if rank < test else "val" if rank < test + val else "train"
        for rank, name in enumerate(ranked)
    }
