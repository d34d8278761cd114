"""Matrix products of training, where torch's own library is slow on the processor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from hemogat.machine import this_machine

# Below, copying to oneDNN's tensors and back takes longer than the product.
_LARGE_MACS = 10**8


def fast_products() -> AbstractContextManager[object]:
    """Return the context to train in on this machine's processor.

    torch multiplies in MKL, which is slower on AMD's processors with AVX-512 than oneDNN, which it
    has too (``benchmarks/training_speed.py``). Elsewhere nothing changes.
    """
    machine = this_machine()
    served_badly = "AuthenticAMD" in (machine.cpu_model or "") and "avx512f" in machine.cpu_flags
    if served_badly and torch.backends.mkldnn.is_available():
        return OneDnnProducts()
    return nullcontext()


class OneDnnProducts(TorchFunctionMode):
    """Large linear layers in fp32 on the CPU run in oneDNN, forward and backward.

    Results are those of fp32, summed up in another order; the same inputs give the same bits.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.linear and not kwargs and _is_large(args[0], args[1]):
            x, *weights = args
            product = F.linear(x.flatten(0, -2).to_mkldnn(), *weights).to_dense()
            return product.view(*x.shape[:-1], -1)
        return func(*args, **(kwargs or {}))


def _is_large(x: Tensor, weight: Tensor) -> bool:
    plain = all(t.dtype is torch.float32 and t.layout is torch.strided for t in (x, weight))
    if not plain or x.device.type != "cpu" or x.dim() < 2 or torch.is_autocast_enabled("cpu"):
        return False
    return x.numel() * weight.shape[0] >= _LARGE_MACS
