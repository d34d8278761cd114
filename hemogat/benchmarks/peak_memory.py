"""Peak memory of loading an engine's graphs and running each once, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from hemogat.contract import Engine
from hemogat.runtime.bundle import GraphName
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.sessions import open_graph


def peak_memory_mib(
    engine: Engine, paths: Mapping[GraphName, Path], feeds: Mapping[GraphName, Arrays]
) -> float | None:
    """Return the largest resident set, MiB; None where the system does not tell (no /proc)."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(_load_and_run, engine, dict(paths), dict(feeds)).result()


def own_peak_memory_mib() -> float | None:
    """Return the largest resident set that this process has had, MiB; None without /proc."""
    # Not getrusage: its maximum includes that of the process this one was started from.
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _load_and_run(
    engine: Engine, paths: dict[GraphName, Path], feeds: dict[GraphName, Arrays]
) -> float | None:
    sessions = {graph: open_graph(str(path), engine) for graph, path in paths.items()}
    for graph, session in sessions.items():
        session.run(feeds[graph])
    return own_peak_memory_mib()
