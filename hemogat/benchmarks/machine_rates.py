"""What this machine can do: rates of matrix products and of a copy, and the floor made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hemogat.benchmarks.figures import MACHINE, Figure
from hemogat.config import Settings

_GIGA = 1e9
_INT8_SHRINKS = 4  # what is moved, where all of it has 8 bits in place of 32
_INT8 = "-int8"  # in the names of targets that compute in it


class Rate(Settings):
    """A rate with its 95 % interval, None where it has none."""

    value: float
    low: float | None = None
    high: float | None = None

    def spread(self) -> float | None:
        """Return the interval's larger half, in logarithms."""
        if self.low is None or self.high is None:
            return None
        return math.log(max(self.high / self.value, self.value / self.low))


class Floor(NamedTuple):
    """The time of a piece of work at the machine's rates, and the rate that binds it."""

    ms: float
    rate: Rate


class MachineRates(Settings):
    """Rates on ``threads`` threads, measured round by round by the reference workload.

    ``copied``: bytes read and written; ``gemm_int8``: None where it could not run.
    """

    gemm: Rate
    copied: Rate
    gemm_int8: Rate | None = None
    threads: int | None = None

    def in_words(self) -> str:
        """Return the rates in one line."""
        int8 = f", in int8 {_giga(self.gemm_int8)} GMAC/s" if self.gemm_int8 is not None else ""
        on = "" if self.threads is None else f" on {self.threads} threads"
        return (
            f"rates{on}, by the reference workload: matrix product in fp32 {_giga(self.gemm)} "
            f"GMAC/s{int8}, copy {_giga(self.copied)} GB/s (read and written)"
        )

    def floor(self, macs: int, moved_bytes: int, *, int8: bool = False) -> Floor | None:
        """Return how long work takes at these rates, the roofline; None without the rate.

        What multiplies faster than the reference workload takes less.

        ``int8``: the product's rate in int8, and a quarter of the bytes.
        """
        product = self.gemm_int8 if int8 else self.gemm
        if product is None:
            return None
        moved = moved_bytes / _INT8_SHRINKS if int8 else moved_bytes
        both = (
            Floor(1e3 * macs / product.value, product),
            Floor(1e3 * moved / self.copied.value, self.copied),
        )
        return max(both, key=lambda floor: floor.ms)


def in_int8(target: str) -> bool:
    """Say whether a target of this name computes in int8."""
    return _INT8 in target


def rates_of(figures: Sequence[Figure]) -> MachineRates | None:
    """Return the machine's rates of a measurement; None where it has none."""
    found = {f.metric: f for f in figures if f.target == MACHINE}
    if not {"gemm_rate", "copy_rate"} <= found.keys():
        return None
    rates = {name: Rate(value=f.value, low=f.low, high=f.high) for name, f in found.items()}
    threads = found["gemm_rate"].axes.get("threads")
    return MachineRates(
        gemm=rates["gemm_rate"],
        copied=rates["copy_rate"],
        gemm_int8=rates.get("gemm_int8_rate"),
        threads=threads if isinstance(threads, int) else None,
    )


def over_floor(time: Figure, floor: Floor) -> Rate:
    """Return a measured time over a floor; its interval has the spread of both."""
    value = time.value / floor.ms
    ours = Rate(value=time.value, low=time.low, high=time.high).spread()
    theirs = floor.rate.spread()
    if ours is None or theirs is None:
        return Rate(value=value)
    factor = math.exp(math.hypot(ours, theirs))
    return Rate(value=value, low=value / factor, high=value * factor)


def _giga(rate: Rate) -> str:
    spread = rate.spread()
    return f"{rate.value / _GIGA:.1f}" + ("" if spread is None else f" ± {100 * spread:.0f} %")
