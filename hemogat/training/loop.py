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
from hemogat.training.epoch import Epoch, EpochState, check_loss, random_state

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

    ``checkpoint_every_s``: least time between checkpoints, which are written after an epoch, and
    after a batch if ``within_epochs``: not where several processes have a random state each.
    ``writes``: False in all processes but the main one, which only read.
    """

    checkpoint: Path | None = None
    logs: Path | None = None
    checkpoint_every_s: float = CHECKPOINT_EVERY_S
    writes: bool = True
    within_epochs: bool = True


NOWHERE = StageFiles()


@dataclass
class _Progress:
    """How far a loop has come; ``epoch``: what is done of the one under way."""

    model: dict[str, Any]  # the weights of the best epoch
    epochs: int = 0
    best: float = -1.0
    since_best: int = 0
    epoch: EpochState = field(default_factory=EpochState)


def train_epochs(
    trainee: Trainee,
    config: OptimiserConfig,
    train_epoch: Callable[[Epoch], float],
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
        train_epoch: trains for one epoch, batch by batch; returns the mean loss.
        validate: returns a score, higher is better.
        stage: the progress bar, one step per utterance and epoch, or per epoch.
        files: checkpoint and logs; a checkpoint that stands there is continued.
        utterances: in an epoch that has batches; None: an epoch is one batch.

    Returns:
        The best score.

    Raises:
        TrainingError: the loss is no number.
    """
    seed = int(torch.randint(2**62, ()).item())
    at = _restore(trainee, files.checkpoint) or _Progress(copy.deepcopy(trainee.model.state_dict()))
    checkpoints = _Checkpoints(trainee, at, files)
    notes = _Notes(config.epochs, utterances)
    if at.epochs or at.epoch.losses:
        stage.advance(at.epochs * (utterances or 1) + at.epoch.utterances)
    with _logging(files, at.epochs) as log:
        while at.epochs < config.epochs and at.since_best < config.patience:
            rate = trainee.optimiser.param_groups[0]["lr"]
            notes.begin(at, rate)

            def after_batch(count: int) -> None:
                stage.advance(count, note=notes.of_batch(at.epoch))
                checkpoints.after_batch()

            trainee.model.train()
            loss = train_epoch(Epoch(_seed_epoch(seed, at.epochs), at.epoch, after_batch))
            check_loss(loss)
            trainee.model.eval()
            score = validate()
            _step(trainee.schedule, score)
            _count(at, score, trainee.model)
            log(at.epochs, {"loss": loss, "learning_rate": rate, "validation_weighted_f1": score})
            stage.advance(utterances is None, note=notes.of_epoch(loss, score))
            checkpoints.after_epoch()
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
    at.epoch = EpochState()
    at.since_best += 1
    if score > at.best:
        at.best, at.since_best, at.model = score, 0, copy.deepcopy(model.state_dict())


class _Notes:
    """What stands beside the bar."""

    def __init__(self, epochs: int, utterances: int | None) -> None:
        self._epochs, self._utterances = epochs, utterances
        self._epoch, self._rate, self._done_before = 0, 0.0, 0
        self._began_s = 0.0

    def begin(self, at: _Progress, rate: float) -> None:
        """Begin an epoch, which may be one that was interrupted."""
        self._epoch, self._rate, self._done_before = at.epochs + 1, rate, at.epoch.utterances
        self._began_s = time.perf_counter()

    def of_batch(self, epoch: EpochState) -> str:
        return f"{self._where()}, loss {epoch.losses[-1]:.2f}, {self._speed(epoch.utterances)}"

    def of_epoch(self, loss: float, score: float) -> str:
        speed = self._speed(self._utterances or 1)
        return f"{self._where()} done, loss {loss:.2f}, {speed}, val w-F1 {score:.2f}"

    def _where(self) -> str:
        return f"epoch {self._epoch}/{self._epochs}"

    def _speed(self, done: int) -> str:
        per_s = (done - self._done_before) / (time.perf_counter() - self._began_s)
        unit = "epochs" if self._utterances is None else "utterances"
        return f"{per_s:.3g} {unit}/s, rate {self._rate:.2g}"


class _Checkpoints:
    """Writes a checkpoint where one is due."""

    def __init__(self, trainee: Trainee, at: _Progress, files: StageFiles) -> None:
        self._trainee, self._at, self._files = trainee, at, files
        self._saved_s = time.monotonic()

    def after_batch(self) -> None:
        if self._files.within_epochs and self._is_due():
            self._at.epoch.random = random_state()
            self._save()

    def after_epoch(self) -> None:
        if self._is_due():
            self._save()

    def _is_due(self) -> bool:
        passed_s = time.monotonic() - self._saved_s
        return self._files.writes and passed_s >= self._files.checkpoint_every_s

    def _save(self) -> None:
        if self._files.checkpoint is not None:
            _save(self._trainee, self._at, self._files.checkpoint)
            self._saved_s = time.monotonic()


def _save(trainee: Trainee, at: _Progress, path: Path) -> None:
    state = {
        "progress": vars(at) | {"epoch": vars(at.epoch)},
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
        progress = state["progress"]
        return _Progress(**progress | {"epoch": EpochState(**progress["epoch"])})
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
