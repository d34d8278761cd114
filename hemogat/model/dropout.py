"""Dropout that is not the slowest part of training on a CPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 2**16


class Dropout(nn.Module):
    """Dropout with torch's distribution, from a quarter of the random numbers on a CPU.

    There torch draws elements one after the other, about 15 ns each, which was a tenth of a head's
    training. Here a 64-bit number serves four elements: 16 bits each decide, so ``rate`` is kept
    to within 1e-5, and what is kept is scaled by the exact rate. Other devices use torch's.

    ``inplace``: change the input.
    """

    def __init__(self, rate: float, *, inplace: bool = False) -> None:
        super().__init__()
        self.rate = rate
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Drop elements of ``x``, of any shape, in training mode."""
        if not self.training or not self.rate:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.rate, inplace=self.inplace)
        kept = _draw_kept(x, self.rate)
        return x.mul_(kept) if self.inplace else x * kept


def _draw_kept(x: Tensor, rate: float) -> Tensor:
    """Draw 0 or the factor of what is kept for each element of ``x``."""
    count = math.prod(x.shape)
    numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = numbers.view(torch.int16)[:count].view(x.shape)
    dropped = round(rate * _LEVELS)
    return (draws >= dropped - _LEVELS // 2).to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
