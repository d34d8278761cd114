"""Products in oneDNN: what torch's own give, and only where they are large."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hemogat.config import GraphConfig, HeadConfig, OptimiserConfig
from hemogat.machine import this_machine
from hemogat.model.bank import Embeddings
from hemogat.progress import Progress
from hemogat.training import head_training, products
from hemogat.training.products import OneDnnProducts, fast_products
from hemogat.training.run_directory import Features

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN"
)


@pytest.fixture
def onednn_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return the shapes of what is given to oneDNN, now where there is anything to multiply."""
    monkeypatch.setattr(products, "_LARGE_MACS", 1_000)
    calls: list[tuple[int, ...]] = []
    real = Tensor.to_mkldnn

    def counted(self: Tensor) -> Tensor:
        calls.append(tuple(self.shape))
        return real(self)

    monkeypatch.setattr(Tensor, "to_mkldnn", counted)
    return calls


def gradients(layer: nn.Linear, x: Tensor) -> tuple[Tensor, ...]:
    """Return the result, and the gradients of input, weight and, if there is one, bias."""
    x = x.clone().requires_grad_()
    result = layer(x)
    found = torch.autograd.grad(result.sin().sum(), (x, *layer.parameters()))
    return result.detach(), *found


@pytest.mark.parametrize("shape", [(40,), (5, 8), (2, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_results_and_gradients_are_torchs_own(
    shape: tuple[int, ...], bias: bool, onednn_calls: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(12, 7, bias=bias), torch.randn(*shape, 12)
    expected = gradients(layer, x)
    assert not onednn_calls
    with OneDnnProducts():
        found = gradients(layer, x)
        again = gradients(layer, x)
    assert onednn_calls == [(40, 12)] * 2
    for one, other, more in zip(found, expected, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert one.equal(more)


def test_small_and_other_products_stay_as_they_are(onednn_calls: list[tuple[int, ...]]) -> None:
    layer = nn.Linear(12, 7)
    few, many = torch.randn(2, 12), torch.randn(40, 12)
    with OneDnnProducts():
        assert layer(few).equal(F.linear(few, layer.weight, layer.bias))
        layer.double()(many.double())
        layer.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(many).dtype is torch.bfloat16
        torch.mm(many, many.T)
    assert not onednn_calls


def test_heads_train_with_them(
    monkeypatch: pytest.MonkeyPatch, onednn_calls: list[tuple[int, ...]]
) -> None:
    monkeypatch.setattr(head_training, "fast_products", OneDnnProducts)
    embeddings = Embeddings(torch.randn(40, 12), torch.randn(40, 12), torch.ones(40, 2).bool())
    features = Features(embeddings, torch.arange(40) % 2)
    head, graph = HeadConfig(hidden=8, heads=2), GraphConfig()
    once = OptimiserConfig(epochs=1, patience=1, learning_rate=1e-3)
    head_training.train_head("full", features, features, 2, head, graph, once, Progress())
    assert (40, 12) in onednn_calls


@pytest.mark.parametrize(
    ("cpu_model", "flags", "used"),
    [
        ("AuthenticAMD family 26 model 2 stepping 1", ("avx2", "avx512f"), True),
        ("AuthenticAMD family 25 model 1 stepping 1", ("avx2",), False),
        ("GenuineIntel family 6 model 143 stepping 8", ("avx2", "avx512f"), False),
        (None, (), False),
    ],
)
def test_only_amds_processors_with_avx512_are_served_otherwise(
    cpu_model: str | None, flags: tuple[str, ...], used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(this_machine(), cpu_model=cpu_model, cpu_flags=flags)
    monkeypatch.setattr(products, "this_machine", lambda: machine)
    assert isinstance(fast_products(), OneDnnProducts) is used
