"""Fine-tuning of one encoder with a linear classifier on top (supervised cross-entropy)."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.config import OptimiserConfig
from hemogat.data.text import batch_tokens
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.progress import Progress, Stage
from hemogat.training.features import embed_samples, embed_texts
from hemogat.training.preparation import PreparedRow

Batch = tuple[tuple[Tensor, ...], Tensor]  # the encoder's inputs and the labels [B]
_WARM_UP = 0.1  # of the epochs


def train_audio_encoder(
    encoder: AudioEncoder,
    train: Sequence[PreparedRow],
    validation: Sequence[PreparedRow],
    labels: int,
    config: OptimiserConfig,
    window_samples: int,
    progress: Progress,
) -> float:
    """Train on one random window per utterance and epoch; validate on the mean over windows.

    Returns the best validation accuracy; ``encoder`` is left with the weights that gave it.
    """
    heard = [(row.samples, row.label) for row in train if row.samples is not None]
    checked = [(row.samples, row.label) for row in validation if row.samples is not None]

    def batches(random: np.random.Generator) -> Iterator[Batch]:
        for part in _shuffled(len(heard), config.batch_size, random):
            windows = [_random_window(heard[i][0], window_samples, random) for i in part]
            yield (torch.from_numpy(np.stack(windows)),), torch.tensor([heard[i][1] for i in part])

    def embed() -> Tensor:
        return embed_samples(encoder, [samples for samples, _ in checked], window_samples)

    targets = torch.tensor([label for _, label in checked])
    with progress.stage("Train audio encoder", config.epochs) as stage:
        return _train(encoder, labels, batches, embed, targets, config, stage)


def train_text_encoder(
    encoder: TextEncoder,
    train: Sequence[PreparedRow],
    validation: Sequence[PreparedRow],
    labels: int,
    config: OptimiserConfig,
    progress: Progress,
) -> float:
    """Train on the texts, those of one token bucket together.

    Returns the best validation accuracy; ``encoder`` is left with the weights that gave it.
    """
    written = [(row.tokens, row.label) for row in train if row.tokens is not None]
    checked = [(row.tokens, row.label) for row in validation if row.tokens is not None]

    def batches(random: np.random.Generator) -> Iterator[Batch]:
        for part in _shuffled(len(written), config.batch_size, random):
            for positions, ids, mask in batch_tokens([written[i][0] for i in part]):
                targets = torch.tensor([written[part[i]][1] for i in positions])
                yield (torch.from_numpy(ids), torch.from_numpy(mask)), targets

    def embed() -> Tensor:
        return embed_texts(encoder, [tokens for tokens, _ in checked])

    targets = torch.tensor([label for _, label in checked])
    with progress.stage("Train text encoder", config.epochs) as stage:
        return _train(encoder, labels, batches, embed, targets, config, stage)


def _train(
    encoder: AudioEncoder | TextEncoder,
    labels: int,
    batches: Callable[[np.random.Generator], Iterator[Batch]],
    embed_validation: Callable[[], Tensor],
    validation_labels: Tensor,
    config: OptimiserConfig,
    stage: Stage,
) -> float:
    """Run the loop that both encoders share; keep the epoch that validates best."""
    device = next(encoder.parameters()).device
    classifier = nn.Linear(encoder.dim, labels).to(device)
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    parameters = [*trained, *classifier.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _warm_up_and_decay(config.epochs))
    # From torch's generator, so that one seed decides everything.
    random = np.random.default_rng(int(torch.randint(2**31, ()).item()))
    best, best_state, since_best = -1.0, copy.deepcopy(encoder.state_dict()), 0
    for _ in range(config.epochs):
        encoder.train()
        for inputs, targets in batches(random):
            logits = classifier(encoder(*(tensor.to(device) for tensor in inputs)))
            loss = F.cross_entropy(
                logits, targets.to(device), label_smoothing=config.label_smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
        schedule.step()
        encoder.eval()
        with torch.no_grad():
            predicted = classifier(embed_validation().to(device)).argmax(dim=1).cpu()
        accuracy = (predicted == validation_labels).double().mean().item()
        stage.advance(note=f"loss {loss.item():.2f}, val acc {accuracy:.2f}")
        since_best += 1
        if accuracy > best:
            best, best_state, since_best = accuracy, copy.deepcopy(encoder.state_dict()), 0
        if since_best >= config.patience:
            break
    encoder.load_state_dict(best_state)
    encoder.eval()
    return best


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
