from __future__ import annotations

from dataclasses import replace

from hemogat.runtime.prediction import Neighbour, Prediction


def test_predictions_are_values() -> None:
    neighbour = Neighbour(row=3, id="u000003", label="b", modality="text", similarity=0.5)
    one = Prediction("a", {"a": 0.75, "b": 0.25}, ("audio", "text"), (neighbour,))
    assert replace(one) == one
    assert replace(one, label="b") != one
    assert one.to_dict() == {
        "label": "a",
        "probabilities": {"a": 0.75, "b": 0.25},
        "modalities": ("audio", "text"),
        "neighbours": (
            {"row": 3, "id": "u000003", "label": "b", "modality": "text", "similarity": 0.5},
        ),
    }
