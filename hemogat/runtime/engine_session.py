"""What every engine offers: one exported graph, ready to run."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class EngineSession(Protocol):
    """One graph in an engine; ``inputs`` and ``outputs`` are the contract's names, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, feeds: Arrays) -> Arrays:
        """Run the graph; inputs and outputs by the contract's names."""
        ...
