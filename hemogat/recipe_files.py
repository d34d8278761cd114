"""Finding a recipe: a file of the user's, or one that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hemogat.config import Recipe, load_settings
from hemogat.errors import ConfigError

_SUFFIX = ".yaml"
# By way of the package above: importing hemogat.training itself would need no torch either, but
# what merely lists recipes has nothing to do with it.
_FOLDER = resources.files("hemogat") / "training" / "recipes"


def packaged_recipes() -> dict[str, str]:
    """Return the recipes that come with the package, sorted: name and one-line description."""
    files = sorted((f for f in _FOLDER.iterdir() if f.name.endswith(_SUFFIX)), key=lambda f: f.name)
    return {f.name.removesuffix(_SUFFIX): _description(f.read_text("utf-8")) for f in files}


def load_recipe(name_or_path: str) -> Recipe:
    """Load the recipe file at a path, else the packaged recipe of that name.

    Raises:
        ConfigError: there is neither, or it is not a valid recipe.
    """
    if Path(name_or_path).is_file():
        return load_settings(Recipe, name_or_path)
    packaged = packaged_recipes()
    if name_or_path not in packaged:
        raise ConfigError(
            f"{name_or_path}: expected a recipe file or one of the packaged recipes "
            f"({', '.join(packaged)}), found neither"
        )
    with resources.as_file(_FOLDER / f"{name_or_path}{_SUFFIX}") as path:
        return load_settings(Recipe, path)


def _description(text: str) -> str:
    """Return the comment that a recipe begins with."""
    return text.partition("\n")[0].lstrip("# ")
