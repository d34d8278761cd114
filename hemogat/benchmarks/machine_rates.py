"""What this machine can do at most: measured rates of a matrix product and of a copy."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from hemogat.config import PositiveFloat, PositiveInt, Settings

_SIDE = 2048  # of the square matrices: large enough that only arithmetic counts
_COPIED_BYTES = 128 * 2**20  # larger than any cache
_REPEATS = 8
_GIGA = 1e9


class MachineRates(Settings):
    """The best of several runs each, fp32, on ``threads`` threads.

    ``copy_bytes_per_s`` counts what is read and what is written.
    """

    gemm_macs_per_s: PositiveFloat
    copy_bytes_per_s: PositiveFloat
    threads: PositiveInt

    def in_words(self) -> str:
        """Return the rates in one line."""
        return (
            f"measured on {self.threads} threads: fp32 product of {_SIDE} x {_SIDE} matrices "
            f"{self.gemm_macs_per_s / _GIGA:.1f} GMAC/s, copy of {_COPIED_BYTES >> 20} MiB "
            f"{self.copy_bytes_per_s / _GIGA:.1f} GB/s (read and written)"
        )

    def floor_ms(self, macs: int, moved_bytes: int) -> float:
        """Return the least time that work takes here: the roofline."""
        return 1e3 * max(macs / self.gemm_macs_per_s, moved_bytes / self.copy_bytes_per_s)


def measure_rates(threads: int | None = None) -> MachineRates:
    """Measure both rates, in about 2 s; ``threads``: None for as many as torch takes."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        used = torch.get_num_threads()
        one = torch.from_numpy(np.random.default_rng(0).random((_SIDE, _SIDE), np.float32))
        product = torch.empty(_SIDE, _SIDE)
        source = torch.ones(_COPIED_BYTES // 4)
        target = torch.empty_like(source)
        return MachineRates(
            gemm_macs_per_s=_SIDE**3 / _fastest_s(lambda: torch.mm(one, one, out=product)),
            copy_bytes_per_s=2 * _COPIED_BYTES / _fastest_s(lambda: target.copy_(source)),
            threads=used,
        )
    finally:
        torch.set_num_threads(before)


def _fastest_s(run: Callable[[], object]) -> float:
    times_s = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        run()
        times_s.append(time.perf_counter() - started)
    return min(times_s)
