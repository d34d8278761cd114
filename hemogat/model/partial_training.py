"""Modules of which training changes only some parts."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from typing_extensions import Self

from hemogat.errors import ConfigError


class PartlyTrained(nn.Module):
    """A module that can be trained in part.

    After :meth:`train_only`, everything else neither gets gradients nor leaves evaluation mode: no
    dropout, no layer drop, and statistics as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._trained: tuple[nn.Module, ...] | None = None  # None: the whole

    def train_only(self, parts: Iterable[nn.Module]) -> None:
        """Freeze all but ``parts``, which are submodules at any depth."""
        self._trained = tuple(parts)
        self.requires_grad_(False)
        for part in self._trained:
            part.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of what is trained; the rest stays in evaluation mode."""
        if not mode or self._trained is None:
            return super().train(mode)
        super().train(False)
        self.training = True
        for part in self._trained:
            part.train()
        return self


def last_layers(layers: nn.Module, count: int, setting: str) -> list[nn.Module]:
    """Return the last ``count`` of an encoder's ``layers``; ``setting`` names it in the error.

    Raises:
        ConfigError: there are fewer.
    """
    every = list(layers.children())
    if count > len(every):
        raise ConfigError(
            f"{setting}.train_last_layers is {count}, but the encoder has {len(every)} layers"
        )
    return every[-count:]
