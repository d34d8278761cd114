from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from hemogat.config import OptimiserConfig
from hemogat.errors import TrainingError
from hemogat.progress import Stage
from hemogat.training.epoch import Epoch
from hemogat.training.loop import NOWHERE, StageFiles, Trainee, train_epochs

CONFIG = OptimiserConfig(epochs=8, learning_rate=0.1, patience=8)
# The best epoch is the third; the plateau schedule steps on the way.
SCORES = (0.1, 0.3, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4)


class Job:
    """A loop over random regression batches, which can be stopped before an epoch."""

    def __init__(self, files: StageFiles = NOWHERE, stop_before: int | None = None) -> None:
        torch.manual_seed(0)
        self.model, self.companion = nn.Linear(4, 3), nn.Linear(3, 1)
        parameters = [*self.model.parameters(), *self.companion.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=CONFIG.learning_rate)
        self.files, self.stop_before = files, stop_before
        self.epochs: list[int] = []
        self.states: list[dict[str, torch.Tensor]] = []

    def run(self, config: OptimiserConfig = CONFIG) -> float:
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, mode="max", factor=0.1, patience=2
        )
        self.schedule = schedule
        trainee = Trainee(self.model, self.optimiser, schedule, self.companion)
        stage = Stage(None, None)
        return train_epochs(
            trainee, config, self.train_epoch, self.validate, stage, files=self.files
        )

    def train_epoch(self, at: Epoch) -> float:
        # Which epoch it is, the model can tell: the loop hands over none.
        epoch = int(self.optimiser.state[self.model.weight]["step"]) if self.optimiser.state else 0
        if epoch == self.stop_before:
            raise KeyboardInterrupt
        self.epochs.append(epoch)
        inputs = torch.from_numpy(at.random.standard_normal((5, 4))).float() + torch.randn(5, 4)
        loss = self.companion(self.model(inputs)).square().mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.item())

    def validate(self) -> float:
        self.states.append({name: v.clone() for name, v in self.model.state_dict().items()})
        return SCORES[self.epochs[-1]]


def test_the_best_epoch_is_kept() -> None:
    job = Job()
    assert job.run() == 0.5
    assert not job.model.training
    for name, value in job.model.state_dict().items():
        assert value.equal(job.states[2][name])
    assert not job.states[-1]["weight"].equal(job.states[2]["weight"])


def test_patience_ends_it() -> None:
    job = Job()
    job.run(CONFIG.model_copy(update={"patience": 2}))
    assert job.epochs == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stop_before", [1, 2, 4, 7])
def test_what_is_continued_equals_what_never_stopped(stop_before: int, tmp_path: Path) -> None:
    whole = Job()
    whole.run()
    files = StageFiles(tmp_path / "stage.pt", checkpoint_every_s=0)
    with pytest.raises(KeyboardInterrupt):
        Job(files, stop_before).run()
    rest = Job(files)
    assert rest.run() == 0.5
    assert rest.epochs == list(range(stop_before, 8))
    for one, other in ((rest.model, whole.model), (rest.companion, whole.companion)):
        for name, value in one.state_dict().items():
            assert value.equal(other.state_dict()[name])
    assert rest.schedule.state_dict() == whole.schedule.state_dict()
    assert rest.optimiser.param_groups[0]["lr"] < CONFIG.learning_rate


def test_patience_that_is_over_stays_over(tmp_path: Path) -> None:
    files = StageFiles(tmp_path / "stage.pt", checkpoint_every_s=0)
    short = CONFIG.model_copy(update={"patience": 2})
    Job(files).run(short)
    again = Job(files)
    assert again.run(short) == 0.5
    assert again.epochs == []


def test_checkpoints_keep_their_distance_and_to_the_main_process(tmp_path: Path) -> None:
    files = StageFiles(tmp_path / "stage.pt", tmp_path / "logs", checkpoint_every_s=3600)
    Job(replace(files, logs=None)).run()
    Job(replace(files, checkpoint_every_s=0, writes=False)).run()
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job()
    monkeypatch.setattr(job, "train_epoch", lambda at: float("nan"))
    with pytest.raises(TrainingError, match="the loss is nan"):
        job.run()
    assert job.states == []  # nothing was validated with it


def test_tensorboard_shows_each_epoch_once(tmp_path: Path) -> None:
    files = StageFiles(tmp_path / "stage.pt", tmp_path / "logs", checkpoint_every_s=0)
    with pytest.raises(KeyboardInterrupt):
        Job(files, stop_before=3).run()
    Job(files).run()
    log = EventAccumulator(str(tmp_path / "logs"))
    log.Reload()
    assert set(log.Tags()["scalars"]) == {"loss", "learning_rate", "validation_weighted_f1"}
    for name in log.Tags()["scalars"]:
        assert [event.step for event in log.Scalars(name)] == list(range(1, 9))
    scores = [event.value for event in log.Scalars("validation_weighted_f1")]
    assert scores == pytest.approx(SCORES)
