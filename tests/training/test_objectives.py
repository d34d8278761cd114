from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hemogat.config import EncoderTraining
from hemogat.training.objectives import (
    Classification,
    Contrastive,
    make_objective,
    nearest_centroid,
    nt_xent,
)


def by_the_formula(embeddings: Tensor, groups: list[int], temperature: float) -> list[float]:
    def similarity(i: int, j: int) -> float:
        one, other = embeddings[i].tolist(), embeddings[j].tolist()
        dot = sum(a * b for a, b in zip(one, other, strict=True))
        return dot / math.hypot(*one) / math.hypot(*other) / temperature

    count = len(groups)
    losses = []
    for i in range(count):
        total = sum(math.exp(similarity(i, a)) for a in range(count) if a != i)
        positives = [p for p in range(count) if p != i and groups[p] == groups[i]]
        terms = [-math.log(math.exp(similarity(i, p)) / total) for p in positives]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return losses


@pytest.mark.parametrize("groups", [[0, 1, 2, 0, 1, 2], [0, 0, 1, 0, 1, 2], [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_nt_xent_is_the_formula(groups: list[int], temperature: float) -> None:
    embeddings = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    found = nt_xent(embeddings, torch.tensor(groups), temperature)
    expected = torch.tensor(by_the_formula(embeddings, groups, temperature))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_two_views_of_each_utterance_give_the_authors_loss() -> None:
    z = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    unit = F.normalize(z, dim=1)
    similarity = (unit @ unit.T / 0.07).fill_diagonal_(-torch.inf)
    other_view = torch.arange(8).roll(4)
    expected = F.cross_entropy(similarity, other_view)
    found = nt_xent(z, torch.arange(4).repeat(2), 0.07).mean()
    torch.testing.assert_close(found, expected)


def test_a_lone_group_gives_no_loss_and_a_finite_gradient() -> None:
    embeddings = torch.randn(3, 4, requires_grad=True)
    loss = nt_xent(embeddings, torch.tensor([0, 0, 1]), 0.07)
    loss.sum().backward()
    assert loss[2] == 0
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_the_nearest_centroid_leaves_the_one_asked_out() -> None:
    random = torch.Generator().manual_seed(0)
    embeddings = torch.randn(12, 4, generator=random)
    labels = torch.arange(12) % 3
    expected = []
    for i in range(12):
        others = torch.arange(12) != i
        centroids = [
            F.normalize(embeddings[others & (labels == label)], dim=1).sum(dim=0)
            for label in range(3)
        ]
        cosine = F.cosine_similarity(torch.stack(centroids), embeddings[i][None])
        expected.append(int(cosine.argmax()))
    assert nearest_centroid(embeddings, labels).tolist() == expected


def test_a_label_that_nobody_else_has_is_given_to_nobody() -> None:
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1]])
    assert nearest_centroid(embeddings, torch.tensor([0, 1, 1])).tolist() == [1, 1, 1]


def test_the_recipe_decides() -> None:
    crossed = make_objective(6, 3, EncoderTraining(label_smoothing=0.1))
    assert isinstance(crossed, Classification)
    embeddings, targets = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])
    expected = F.cross_entropy(crossed.linear(embeddings), targets, label_smoothing=0.1)
    torch.testing.assert_close(crossed(embeddings, targets).mean(), expected)
    paired = make_objective(6, 3, EncoderTraining(objective="contrastive", temperature=0.2))
    assert isinstance(paired, Contrastive)
    expected = nt_xent(paired.projection(embeddings), targets, 0.2)
    torch.testing.assert_close(paired(embeddings, targets), expected)
