"""One epoch of training, which can stop after any batch and go on there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from hemogat.errors import TrainingError

BatchT = TypeVar("BatchT")


@dataclass
class EpochState:
    """What was done of an epoch: each batch's loss, and torch's random state after the last one."""

    losses: list[float] = field(default_factory=list)
    utterances: int = 0
    random: dict[str, Any] | None = None


@dataclass
class Epoch:
    """An epoch under way.

    ``random``: its own numbers, the same whenever this epoch of this loop is run. ``state``: what
    was done of it, also before an interruption. ``after_batch`` is called with the utterances of
    each batch.
    """

    random: np.random.Generator
    state: EpochState
    after_batch: Callable[[int], None]

    def remaining(self, batches: Iterable[BatchT]) -> Iterator[BatchT]:
        """Yield the batches that are not done yet.

        Those that are done are drawn too, so that the next ones are what they would have been.
        """
        done = len(self.state.losses)
        for number, batch in enumerate(batches):
            if number == done and self.state.random is not None:
                _set_random(self.state.random)
            if number >= done:
                yield batch

    def batch_done(self, loss: float, utterances: int) -> None:
        """Note a batch that changed the weights.

        Raises:
            TrainingError: the loss is no number.
        """
        check_loss(loss)
        self.state.losses.append(loss)
        self.state.utterances += utterances
        self.after_batch(utterances)

    def mean_loss(self) -> float:
        """Return the mean loss of the batches."""
        return float(np.mean(self.state.losses))


def check_loss(loss: float) -> None:
    """Refuse a loss that is no number: nothing can be learned from there on.

    Raises:
        TrainingError: it says what to do.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss}: the weights or an embedding are no numbers any more; lower "
            f"learning_rate of this stage and begin anew with --restart"
        )


def random_state() -> dict[str, Any]:
    """Return torch's random state, on every device."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def _set_random(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
