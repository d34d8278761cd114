"""A head with random weights in torch, alone."""

from __future__ import annotations

from hemogat.benchmarks.random_heads import build_inductive_head
from hemogat.benchmarks.targets import Case, HeadTarget
from hemogat.benchmarks.torch_calls import Call, fusion_call, maybe_compiled, set_up
from hemogat.benchmarks.worker_protocol import Opened


class HeadRunner:
    """A head with its bank, weights random."""

    def __init__(self, target: HeadTarget, threads: int | None, device: str) -> None:
        self._device = set_up(threads, device)
        shape = target.shape
        head = build_inductive_head(shape).to(self._device)
        self._head = maybe_compiled(head, self._device, compiled=target.compiled)
        self._dims = shape.dims
        self.opened = Opened(
            components=("fusion",), gnn=shape.head.gnn, bank_rows=shape.bank_rows, shape=shape
        )

    def prepare(self, case: Case) -> Call:
        """Make the inputs of a case, and return what runs it once."""
        return fusion_call(self._head, case.batch, self._dims, self._device)
