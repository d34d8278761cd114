"""One process or several: what accelerate launched, and who does what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

ItemT = TypeVar("ItemT")


def make_accelerator() -> Accelerator:
    """Return what runs the same code on one GPU, several, or CPUs, as it was launched.

    ``accelerate launch`` starts a process per GPU, ``torchrun`` also several on CPUs.
    """
    # A pooler that nobody reads gets no gradients, for which the processes must not wait.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])


def is_main_process() -> bool:
    """Whether this is the process that prints and writes what all share."""
    return bool(make_accelerator().is_main_process)


def share(items: Sequence[ItemT], accelerator: Accelerator) -> list[ItemT]:
    """Return this process's share of what all processes hold: every n-th item."""
    return list(items[accelerator.process_index :: accelerator.num_processes])


def compute_together(
    items: Sequence[ItemT],
    compute: Callable[[Sequence[ItemT]], Tensor],
    accelerator: Accelerator,
) -> Tensor:
    """Return ``compute(items)``, one row per item, of which each process computes its share."""
    if accelerator.num_processes == 1 or not items:
        return compute(items)
    rounds = -(-len(items) // accelerator.num_processes)
    own = share(items, accelerator)
    own += list(items[: rounds - len(own)])  # as many rows from every process; dropped below
    gathered: Tensor = accelerator.gather(compute(own).to(accelerator.device))
    by_round = gathered.cpu().view(accelerator.num_processes, rounds, -1).transpose(0, 1)
    return by_round.reshape(-1, gathered.shape[1])[: len(items)]


def agree(score: float, accelerator: Accelerator) -> float:
    """Return the main process's ``score`` in all of them, so that they stop at the same epoch."""
    if accelerator.num_processes == 1:
        return score
    value = torch.tensor([score], dtype=torch.float64, device=accelerator.device)
    torch.distributed.broadcast(value, src=0)
    return float(value.item())
