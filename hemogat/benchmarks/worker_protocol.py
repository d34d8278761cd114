"""What the measuring process and its workers say to each other: one JSON object per line."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from hemogat.benchmarks.targets import Case, Component, HeadShape, Kernel, Target
from hemogat.config import PositiveInt, Settings


class Open(Settings):
    """Load the target. ``threads``: for one graph; None: as many as there are cores."""

    do: Literal["open"] = "open"
    target: Target
    threads: PositiveInt | None
    device: str


class Run(Settings):
    """Run a case ``untimed`` times, then ``timed`` times."""

    do: Literal["run"] = "run"
    case: Case
    untimed: int
    timed: PositiveInt


class Close(Settings):
    """Tell what was used, and end."""

    do: Literal["close"] = "close"


REQUEST: TypeAdapter[Open | Run | Close] = TypeAdapter(
    Annotated[Open | Run | Close, Field(discriminator="do")]
)


class Opened(Settings):
    """The target is loaded; ``components`` are those that it can run.

    ``gnn``, ``bank_rows``, ``size_mib``, ``threads`` (that one run uses), ``shape`` (of head and
    bank): of the target; None where it does not tell.
    """

    components: tuple[Component | Kernel, ...]
    gnn: str | None = None
    bank_rows: int | None = None
    size_mib: float | None = None
    threads: PositiveInt | None = None
    shape: HeadShape | None = None


class Turn(Settings):
    """The timed runs of one turn.

    Of them together: ``energy_j``, None where unreadable, and ``cpu_s``, the process's CPU time.
    """

    times_ms: tuple[float, ...]
    energy_j: float | None
    cpu_s: float | None = None


class Closed(Settings):
    """``peak_memory_mib``: of the worker's whole life; None where the system does not tell.

    ``torch_loaded``: whether anything brought torch into the process.
    """

    peak_memory_mib: float | None
    torch_loaded: bool


class Failed(Settings):
    """``kind``: name of the exception's class, usually one in :mod:`hemogat.errors`."""

    kind: str
    message: str
