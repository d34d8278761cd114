"""Finding a recipe: a file of the user's, or one that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hemogat.config import Recipe, load_settings
from hemogat.errors import ConfigError

_SUFFIX = ".yaml"


def packaged_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    files = (resources.files("hemogat") / "recipes").iterdir()
    return tuple(sorted(f.name.removesuffix(_SUFFIX) for f in files if f.name.endswith(_SUFFIX)))


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
    file = resources.files("hemogat") / "recipes" / f"{name_or_path}{_SUFFIX}"
    with resources.as_file(file) as path:
        return load_settings(Recipe, path)
