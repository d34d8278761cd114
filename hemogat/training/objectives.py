"""What encoders are trained towards: a classifier on top, or pairs of one label."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.config import EncoderTraining

_PROJECTION_WIDTH = 256  # the authors'


class Classification(nn.Module):
    """Cross-entropy of a linear classifier on the embedding."""

    views = 1

    def __init__(self, dim: int, labels: int, label_smoothing: float) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, labels)
        self.label_smoothing = label_smoothing

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each embedding, [B, d] and [B] to [B]."""
        return F.cross_entropy(
            self.linear(embeddings),
            targets,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )

    def predict(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Return the label that each embedding is given; ``targets`` are not looked at."""
        logits: Tensor = self.linear(embeddings)
        return logits.argmax(dim=1)


class Contrastive(nn.Module):
    """NT-Xent on a projection of the embedding.

    The projection (two layers, to 256 numbers) and the loss are the authors'. Their ``positives``
    are the two views of one ``utterance`` and no others, which leaves the labels unused; with
    ``label`` all views of the utterances of that label are. A batch holds the first views, then
    the second ones in the same order.
    """

    views = 2

    def __init__(
        self, dim: int, temperature: float, positives: Literal["label", "utterance"]
    ) -> None:
        super().__init__()
        self.projection = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, _PROJECTION_WIDTH)
        )
        self.temperature = temperature
        self.positives = positives

    def forward(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each embedding, [B, d] and [B] to [B]."""
        groups = targets
        if self.positives == "utterance":
            utterances = len(targets) // self.views
            groups = torch.arange(utterances, device=targets.device).repeat(self.views)
        return nt_xent(self.projection(embeddings), groups, self.temperature)

    def predict(self, embeddings: Tensor, targets: Tensor) -> Tensor:
        """Return the label whose other embeddings' mean direction is nearest to each one's."""
        return nearest_centroid(embeddings, targets)


Objective = Classification | Contrastive


def make_objective(dim: int, labels: int, config: EncoderTraining) -> Objective:
    """Return the objective that ``config`` names, for embeddings of ``dim`` numbers."""
    if config.objective == "contrastive":
        return Contrastive(dim, config.temperature, config.positives)
    return Classification(dim, labels, config.label_smoothing)


def nt_xent(embeddings: Tensor, groups: Tensor, temperature: float) -> Tensor:
    r"""Normalised temperature-scaled cross-entropy over pairs of one group.

    .. math::
        \ell_i = -\frac{1}{|P_i|} \sum_{p \in P_i}
            \log \frac{\exp(\cos(z_i, z_p) / \tau)}{\sum_{a \ne i} \exp(\cos(z_i, z_a) / \tau)}

    With utterances for groups, two views each, this is NT-Xent of Chen et al. (2020), as in the
    authors' code; with labels, it is the supervised form of Khosla et al. (2020). A row whose
    group has no other member has no positives, and the loss 0.

    Shapes:
        embeddings: [N, d]; groups: [N]
        result: [N]
    """
    unit = F.normalize(embeddings.float(), dim=1)
    own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    similarity = (unit @ unit.T / temperature).masked_fill(own, -torch.inf)
    positive = (groups.unsqueeze(0) == groups.unsqueeze(1)) & ~own
    log_shares = similarity.log_softmax(dim=1).masked_fill(~positive, 0.0)
    return -log_shares.sum(dim=1) / positive.sum(dim=1).clamp(min=1)


def nearest_centroid(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return for each embedding the label of the nearest centroid, itself left out of its own.

    Centroids are sums of unit embeddings, compared by cosine; a label that nobody else has is
    given to nobody.

    Shapes:
        embeddings: [N, d]; labels, result: int64 [N]
    """
    unit = F.normalize(embeddings.float(), dim=1)
    member = F.one_hot(labels).to(unit.dtype)  # [N, labels]
    centroids = (member.T @ unit).unsqueeze(0) - member.unsqueeze(2) * unit.unsqueeze(1)
    scores = (F.normalize(centroids, dim=2) * unit.unsqueeze(1)).sum(dim=2)
    others = member.sum(dim=0) - member
    return scores.masked_fill(others == 0, -torch.inf).argmax(dim=1)
