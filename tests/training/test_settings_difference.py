from __future__ import annotations

from typing import Any

from hemogat.config import Recipe
from hemogat.training.settings_difference import first_difference


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"name": "r", "labels": ["a", "b"]} | changes)


def test_the_first_difference_is_named_in_full() -> None:
    other = recipe(head={"hidden": 16}, seeds=2)
    assert first_difference(recipe(), other) == ("head.hidden", 512, 16)
    assert first_difference(recipe(labels=["b", "a"]), recipe()) == (
        "labels",
        ["b", "a"],
        ["a", "b"],
    )


def test_what_agrees_has_none() -> None:
    assert first_difference(recipe(), recipe(seeds=5)) is None
