from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.errors import ConfigError
from hemogat.recipe_files import load_recipe, packaged_recipes


@pytest.mark.parametrize("name", packaged_recipes())
def test_packaged_recipes_are_valid(name: str) -> None:
    assert load_recipe(name).name == name


def test_recipes_are_listed_with_what_they_are_for() -> None:
    packaged = packaged_recipes()
    assert list(packaged) == sorted(packaged)
    assert {"demo", "iemocap", "meld"} <= packaged.keys()
    for description in packaged.values():
        assert len(description.split()) > 5
        assert "#" not in description


def test_a_file_goes_before_a_packaged_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text("{name: mine, labels: [a, b]}")
    assert load_recipe("demo").name == "mine"


def test_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"nosuch\.yaml: .*packaged recipes \(.*demo"):
        load_recipe("nosuch.yaml")
