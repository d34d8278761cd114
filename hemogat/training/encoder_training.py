"""Fine-tuning of one encoder, towards an objective that is dropped afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from hemogat.config import AugmentationConfig, EncoderTraining
from hemogat.data.text import TokenizedText, batch_tokens
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.progress import Progress
from hemogat.training.augmentation import augment
from hemogat.training.epoch import Epoch
from hemogat.training.features import embed_samples, embed_texts
from hemogat.training.loop import NOWHERE, StageFiles, Trainee, train_epochs
from hemogat.training.metrics import weighted_f1
from hemogat.training.objectives import Objective, make_objective
from hemogat.training.preparation import PreparedRow
from hemogat.training.processes import agree, compute_together, make_accelerator, share

_WARM_UP = 0.1  # of the epochs
_RATE_HZ = 16_000


class _Batch(NamedTuple):
    """A process's share of a batch: encoder inputs, labels [B], weight of its mean loss.

    ``utterances``: how many the batch has, over all processes.
    """

    inputs: tuple[Tensor, ...]
    targets: Tensor
    weight: float
    utterances: int


@dataclass(frozen=True)
class _Data:
    """An encoder's data: batches from two generators (all processes', own), and validation."""

    batches: Callable[[np.random.Generator, np.random.Generator], Iterator[_Batch]]
    utterances: int
    embed_validation: Callable[[], Tensor]
    validation_labels: Tensor


def train_audio_encoder(
    encoder: AudioEncoder,
    train: Sequence[PreparedRow],
    validation: Sequence[PreparedRow],
    labels: int,
    config: EncoderTraining,
    window_samples: int,
    progress: Progress,
    *,
    augmentation: AugmentationConfig | None = None,
    accelerator: Accelerator | None = None,
    files: StageFiles = NOWHERE,
) -> float:
    """Train on random windows, one per utterance and epoch (two if contrastive).

    Validation takes the mean over an utterance's windows, as serving does.

    Args:
        encoder: left with the weights of the epoch that validated best.
        train, validation: utterances, of which those with audio are used.
        labels: how many there are.
        config: objective and optimiser; ``batch_size`` counts the utterances of all processes.
        window_samples: length of a window.
        progress: where the bar is drawn.
        augmentation: changes to training utterances before their window is cut.
        accelerator: device and processes; default: as this process was launched.
        files: checkpoint and logs.

    Returns:
        The best weighted F1 on the validation utterances.
    """
    accelerator = accelerator or make_accelerator()
    heard = [(row.samples, row.label) for row in train if row.samples is not None]
    checked = [(row.samples, row.label) for row in validation if row.samples is not None]
    changes = augmentation or AugmentationConfig()
    objective = make_objective(encoder.dim, labels, config)

    def window(samples: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
        return _random_window(augment(samples, changes, _RATE_HZ, random), window_samples, random)

    def batches(order: np.random.Generator, own: np.random.Generator) -> Iterator[_Batch]:
        for part in _shuffled(len(heard), config.batch_size, order):
            chosen, weight = _own_share(part, accelerator)
            windows = [window(heard[i][0], own) for i in chosen * objective.views]
            targets = torch.tensor([heard[i][1] for i in chosen * objective.views])
            yield _Batch((torch.from_numpy(np.stack(windows)),), targets, weight, len(part))

    def embed(samples: Sequence[NDArray[np.float32]]) -> Tensor:
        return embed_samples(encoder, samples, window_samples)

    data = _Data(
        batches,
        len(heard),
        lambda: compute_together([samples for samples, _ in checked], embed, accelerator),
        torch.tensor([label for _, label in checked]),
    )
    title = "Train audio encoder"
    return _train(title, encoder, objective, data, config, progress, accelerator, files)


def train_text_encoder(
    encoder: TextEncoder,
    train: Sequence[PreparedRow],
    validation: Sequence[PreparedRow],
    labels: int,
    config: EncoderTraining,
    progress: Progress,
    *,
    accelerator: Accelerator | None = None,
    files: StageFiles = NOWHERE,
) -> float:
    """Train on the texts, those of one token bucket together.

    A contrastive text's second view is itself: dropout makes the difference (Gao et al. 2021).
    The arguments and what is returned are :func:`train_audio_encoder`'s.
    """
    accelerator = accelerator or make_accelerator()
    written = [(row.tokens, row.label) for row in train if row.tokens is not None]
    checked = [(row.tokens, row.label) for row in validation if row.tokens is not None]
    objective = make_objective(encoder.dim, labels, config)

    def batches(order: np.random.Generator, own: np.random.Generator) -> Iterator[_Batch]:
        for part in _shuffled(len(written), config.batch_size, order):
            for positions, _, _ in batch_tokens([written[i][0] for i in part]):
                chosen, weight = _own_share([part[p] for p in positions], accelerator)
                chosen = chosen * objective.views
                ((_, ids, mask),) = batch_tokens([written[i][0] for i in chosen])
                targets = torch.tensor([written[i][1] for i in chosen])
                inputs = (torch.from_numpy(ids), torch.from_numpy(mask))
                yield _Batch(inputs, targets, weight, len(positions))

    def embed(texts: Sequence[TokenizedText]) -> Tensor:
        return embed_texts(encoder, texts)

    data = _Data(
        batches,
        len(written),
        lambda: compute_together([tokens for tokens, _ in checked], embed, accelerator),
        torch.tensor([label for _, label in checked]),
    )
    title = "Train text encoder"
    return _train(title, encoder, objective, data, config, progress, accelerator, files)


class _Trained(nn.Module):
    """Encoder and objective as one module, which is what processes share gradients of."""

    def __init__(self, encoder: AudioEncoder | TextEncoder, objective: Objective) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective

    def forward(self, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """Return the mean loss."""
        losses: Tensor = self.objective(self.encoder(*inputs), targets)
        return losses.mean()


def _train(
    title: str,
    encoder: AudioEncoder | TextEncoder,
    objective: Objective,
    data: _Data,
    config: EncoderTraining,
    progress: Progress,
    accelerator: Accelerator,
    files: StageFiles,
) -> float:
    """Run the loop that both encoders share."""
    device = accelerator.device
    trained = _Trained(encoder, objective).to(device)
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _warm_up_and_decay(config.epochs))
    together, stepping = accelerator.prepare(trained, optimiser)

    def train_epoch(epoch: Epoch) -> float:
        random = epoch.random
        own = np.random.default_rng([int(random.integers(2**62)), accelerator.process_index])
        torch.manual_seed(int(own.integers(2**62)))  # each process drops out other numbers
        for inputs, targets, weight, utterances in epoch.remaining(data.batches(random, own)):
            loss = weight * together(tuple(part.to(device) for part in inputs), targets.to(device))
            stepping.zero_grad()
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(parameters, 1.0)
            stepping.step()
            epoch.batch_done(loss.item(), utterances)
        return epoch.mean_loss()

    @torch.no_grad()
    def validate() -> float:
        truth = data.validation_labels.to(device)
        predicted = objective.predict(data.embed_validation().to(device), truth).cpu().numpy()
        score = weighted_f1(data.validation_labels.numpy(), predicted)
        return agree(score, accelerator)

    with progress.stage(title, config.epochs * data.utterances) as stage:
        best = train_epochs(
            Trainee(encoder, optimiser, schedule, objective),
            config,
            train_epoch,
            validate,
            stage,
            files=files,
            utterances=data.utterances,
        )
    accelerator.free_memory(together, stepping)
    return best


def _own_share(part: list[int], accelerator: Accelerator) -> tuple[list[int], float]:
    """Return this process's rows of a batch, and the weight of their mean in that of all.

    Processes average their gradients, so that the sum of weighted means is the batch's mean loss.
    A process without a share has to take part: it computes a row that weighs nothing.
    """
    own = share(part, accelerator)
    return own or part[:1], len(own) * accelerator.num_processes / len(part)


def _warm_up_and_decay(epochs: int) -> Callable[[int], float]:
    """Return the learning rate's factor by epoch: a linear rise, then a half cosine to zero."""
    rise = max(1, round(_WARM_UP * epochs))

    def factor(epoch: int) -> float:
        if epoch < rise:
            return (epoch + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * (epoch - rise) / max(1, epochs - rise)))

    return factor


def _shuffled(count: int, batch_size: int, random: np.random.Generator) -> Iterator[list[int]]:
    order = random.permutation(count).tolist()
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def _random_window(
    samples: NDArray[np.float32], window_samples: int, random: np.random.Generator
) -> NDArray[np.float32]:
    spare = len(samples) - window_samples
    if spare <= 0:
        return np.pad(samples, (0, -spare))
    start = int(random.integers(spare + 1))
    return samples[start : start + window_samples]
