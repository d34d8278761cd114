"""What targets in torch share: device and threads, torch.compile, calls that wait for the device.

Nothing here imports transformers: a head alone starts without.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from hemogat.benchmarks.runners import random_embeddings
from hemogat.errors import ConfigError, IncompleteError
from hemogat.runtime.bundle import Dims

Call = Callable[[], object]


def set_up(threads: int | None, device: str) -> torch.device:
    """Limit torch's threads, if told to, and return the device.

    Raises:
        ConfigError: it is neither the CPU nor a GPU.
        IncompleteError: it is a GPU, and there is none.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {device}: torch runs on cpu or cuda[:n]")
    if kind == "cuda" and not torch.cuda.is_available():
        raise IncompleteError(f"device {device}: torch finds no CUDA device; use --device cpu")
    if kind == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def check_compiler() -> None:
    """Refuse torch.compile where it has nothing to compile with.

    Raises:
        IncompleteError: there is no C++ compiler.
    """
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        raise IncompleteError("torch.compile needs a C++ compiler; install g++, or name it in CXX")


def maybe_compiled(
    module: nn.Module, device: torch.device, *, compiled: bool, cuda_graphs: bool = False
) -> Any:
    """Return the module, through torch.compile where asked for, also with CUDA graphs.

    Raises:
        ConfigError: CUDA graphs are for a GPU.
        IncompleteError: there is no compiler.
    """
    if not compiled:
        return module
    if cuda_graphs and device.type != "cuda":
        raise ConfigError(f"cuda-graphs: expected --device cuda, found {device}")
    if device.type == "cpu":
        check_compiler()
    return torch.compile(module, mode="reduce-overhead" if cuda_graphs else None)


def waiting(call: Call, device: torch.device) -> Call:
    """Return what calls without gradients and waits until the device has finished."""

    @torch.inference_mode()
    def run() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def fusion_call(head: nn.Module, batch: int, dims: Dims, device: torch.device) -> Call:
    """Return what answers ``batch`` pairs of random embeddings."""
    feeds = [torch.from_numpy(a).to(device) for a in random_embeddings(batch, dims).values()]
    return waiting(lambda: head(*feeds), device)
