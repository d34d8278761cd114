from __future__ import annotations

import pytest
import torch

from hemogat.model.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_drops_at_the_rate_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    count = 1_000_003  # no multiple of the elements that share a random number
    dropped = Dropout(rate)(torch.ones(count))
    kept = dropped != 0
    deviation = (rate * (1 - rate) / count) ** 0.5
    assert float((~kept).float().mean()) == pytest.approx(rate, abs=5 * deviation)
    assert dropped[kept].unique().tolist() == [pytest.approx(1 / (1 - rate), rel=1e-4)]


def test_elements_are_dropped_independently_of_their_neighbours() -> None:
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).float()
    for distance in (1, 2, 3, 4):
        both = float((kept[distance:] * kept[:-distance]).mean())
        assert both == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 400_000) ** 0.5)


def test_the_generator_decides() -> None:
    x = torch.ones(100, 3)
    torch.manual_seed(1)
    first, second = Dropout(0.5)(x), Dropout(0.5)(x)
    torch.manual_seed(1)
    assert torch.equal(first, Dropout(0.5)(x))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("inplace", [False, True])
def test_gradients_are_those_of_the_mask(inplace: bool) -> None:
    x = torch.randn(50, 4, requires_grad=True)
    dropped = Dropout(0.5, inplace=inplace)(x * 1.0)
    dropped.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, dropped)
    assert 0 < int((x.grad == 0).sum()) < x.numel()


def test_evaluation_changes_nothing() -> None:
    x = torch.randn(5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
