"""Where two recipes, or other settings, differ."""

from __future__ import annotations

from typing import Any

from hemogat.config import Settings


def first_difference(one: Settings, other: Settings) -> tuple[str, Any, Any] | None:
    """Return the first setting that differs, by its full name, and both values; None: all agree."""
    of_one, of_other = (_flat(settings.model_dump(mode="json")) for settings in (one, other))
    for name in sorted(of_one.keys() | of_other.keys()):
        if of_one.get(name) != of_other.get(name):
            return name, of_one.get(name), of_other.get(name)
    return None


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found
