from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.data.manifest import Utterance
from hemogat.export.gating import utterances_to_judge
from hemogat.training.run_directory import RunDirectory


class Splits:
    """A manifest of as many utterances as said, by split."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def split(self, name: str) -> tuple[Utterance, ...]:
        return tuple(
            Utterance(id=f"{name}-{n}", audio=None, text="t", label="sad", speaker="s", split=name)
            for n in range(self._counts[name])
        )


@pytest.mark.parametrize(
    ("val", "test", "splits", "source"),
    [
        (500, 900, {"val"}, "the val split"),
        (499, 500, {"test"}, "the test split"),
        (400, 400, {"val", "test"}, "the val and test splits"),
    ],
)
def test_what_was_trained_on_is_never_judged_on(
    val: int, test: int, splits: set[str], source: str, tiny_run: Path
) -> None:
    manifest = Splits(train=5000, val=val, test=test)
    judged = utterances_to_judge(RunDirectory.open(tiny_run), manifest, None)  # type: ignore[arg-type]
    assert {utterance.split for utterance in judged.utterances} == splits
    assert judged.source == source


def test_utterances_that_are_given_are_all_judged_on(tiny_run: Path, tiny_manifest: Path) -> None:
    judged = utterances_to_judge(RunDirectory.open(tiny_run), Splits(), tiny_manifest)  # type: ignore[arg-type]
    assert len(judged.utterances) == 42
    assert judged.source == "the utterances given"
