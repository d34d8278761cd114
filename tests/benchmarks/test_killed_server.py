from __future__ import annotations

from pathlib import Path

import pytest
from killed_server import compare_answers

HEADER = "id,label,p_calm,p_angry,modalities"


def answers(path: Path, *rows: str) -> Path:
    path.write_text("\n".join((HEADER, *rows, "")))
    return path


def test_rows_that_are_lost_or_answered_otherwise_are_counted(tmp_path: Path) -> None:
    undisturbed = answers(
        tmp_path / "a.csv", "1,calm,0.9,0.1,audio", "2,calm,0.6,0.4,audio", "3,angry,0.2,0.8,text"
    )
    found = compare_answers(undisturbed, undisturbed)
    assert (found.lost, found.other_label, found.probability) == (0, 0, 0)
    disturbed = answers(tmp_path / "b.csv", "3,calm,0.2,0.8,text", "1,calm,0.85,0.15,audio")
    found = compare_answers(undisturbed, disturbed)
    assert (found.lost, found.other_label) == (1, 1)
    assert found.probability == pytest.approx(0.05)
