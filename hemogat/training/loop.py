"""The loop that trains encoders and heads: the best epoch, patience, checkpoints, logs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from hemogat.config import OptimiserConfig
from hemogat.errors import BundleError
from hemogat.files import replace_synced
from hemogat.model.writing import writing
from hemogat.progress import Stage

CHECKPOINT_EVERY_S = 30.0

Log = Callable[[int, dict[str, float]], None]  # epoch, values by name


@dataclass(frozen=True)
class Trainee:
    """What a loop changes.

    ``model``: ends with the weights of the epoch that validated best. ``companion``: trained with
    it and then dropped, such as the classifier on top of an encoder.
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    companion: nn.Module = field(default_factory=nn.Module)


@dataclass(frozen=True)
class StageFiles:
    """Where a loop keeps what it needs to go on after an interruption, and its TensorBoard logs.

    ``checkpoint_every_s``: least time between checkpoints, which are written at an epoch's end.
    ``writes``: False in all processes but the main one, which only read.
    """

    checkpoint: Path | None = None
    logs: Path | None = None
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    writes: bool = True


NOWHERE = StageFiles()


@dataclass
class _Progress:
    """How far a loop has come."""

    model: dict[str, Any]  # the weights of the best epoch
    epochs: int = 0
    best: float = -1.0
    since_best: int = 0


def train_epochs(
    trainee: Trainee,
    config: OptimiserConfig,
    train_epoch: Callable[[np.random.Generator], float],
    validate: Callable[[], float],
    stage: Stage,
    *,
    files: StageFiles = NOWHERE,
    utterances: int | None = None,
) -> float:
    """Train until ``config.epochs`` or ``config.patience`` is over; keep the best epoch's weights.

    Each epoch has random numbers of its own, from torch's generator as it stands at the start and
    the epoch's number: so a loop that goes on from a checkpoint equals one that never stopped.

    Args:
        trainee: what is trained; the model is left in evaluation mode.
        config: length and stopping rule.
        train_epoch: trains for one epoch, given its random numbers; returns the mean loss.
        validate: returns a score, higher is better.
        stage: the progress bar, one step per epoch.
        files: checkpoint and logs; a checkpoint that stands there is continued.
        utterances: in an epoch, for the rate that is shown; None: epochs per second.

    Returns:
        The best score.
    """
    seed = int(torch.randint(2**62, ()).item())
    at = _restore(trainee, files.checkpoint) or _Progress(copy.deepcopy(trainee.model.state_dict()))
    if at.epochs:
        stage.advance(at.epochs)
    saved_s = time.monotonic()
    with _logging(files, at.epochs) as log:
        while at.epochs < config.epochs and at.since_best < config.patience:
            started_s = time.perf_counter()
            random = _seed_epoch(seed, at.epochs)
            trainee.model.train()
            rate = trainee.optimiser.param_groups[0]["lr"]
            loss = train_epoch(random)
            trainee.model.eval()
            score = validate()
            _step(trainee.schedule, score)
            _count(at, score, trainee.model)
            log(at.epochs, {"loss": loss, "learning_rate": rate, "validation_weighted_f1": score})
            stage.advance(note=_note(loss, score, time.perf_counter() - started_s, utterances))
            due = time.monotonic() - saved_s >= files.checkpoint_every_s
            if files.checkpoint and files.writes and due:
                _save(trainee, at, files.checkpoint)
                saved_s = time.monotonic()
    trainee.model.load_state_dict(at.model)
    trainee.model.eval()
    return at.best


def _seed_epoch(seed: int, epoch: int) -> np.random.Generator:
    random = np.random.default_rng([seed, epoch])
    torch.manual_seed(int(random.integers(2**62)))
    return random


def _step(schedule: LRScheduler, score: float) -> None:
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(score)
    else:
        schedule.step()


def _count(at: _Progress, score: float, model: nn.Module) -> None:
    at.epochs += 1
    at.since_best += 1
    if score > at.best:
        at.best, at.since_best, at.model = score, 0, copy.deepcopy(model.state_dict())


def _note(loss: float, score: float, duration_s: float, utterances: int | None) -> str:
    rate = (utterances or 1) / duration_s
    unit = "epochs" if utterances is None else "utterances"
    return f"{rate:.3g} {unit}/s, loss {loss:.2f}, val w-F1 {score:.2f}"


def _save(trainee: Trainee, at: _Progress, path: Path) -> None:
    state = {
        "progress": vars(at),
        "model": trainee.model.state_dict(),
        "companion": trainee.companion.state_dict(),
        "optimiser": trainee.optimiser.state_dict(),
        "schedule": trainee.schedule.state_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with writing(temporary):
        torch.save(state, temporary)
    replace_synced(temporary, path)


def _restore(trainee: Trainee, path: Path | None) -> _Progress | None:
    if path is None or not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        trainee.model.load_state_dict(state["model"])
        trainee.companion.load_state_dict(state["companion"])
        trainee.optimiser.load_state_dict(state["optimiser"])
        trainee.schedule.load_state_dict(state["schedule"])
        return _Progress(**state["progress"])
    except Exception as error:  # torch names none, and a damaged file can raise anything
        raise BundleError(
            f"{path}: is no checkpoint of this stage, or damaged; delete it, and the stage begins "
            f"anew with --resume"
        ) from error


@contextmanager
def _logging(files: StageFiles, first_epoch: int) -> Iterator[Log]:
    """Give what writes values to TensorBoard, or nowhere."""
    if files.logs is None or not files.writes:
        yield lambda epoch, values: None
        return
    from torch.utils.tensorboard import SummaryWriter  # takes a second, and few callers log

    # What an interrupted run logged after its last checkpoint is trained, and logged, again.
    with SummaryWriter(str(files.logs), purge_step=first_epoch + 1) as writer:

        def log(epoch: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)

        yield log
