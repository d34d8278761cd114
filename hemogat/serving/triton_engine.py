"""What an engine model does with a batch of requests, apart from everything that is Triton's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from hemogat.runtime.bundle import Bundle
from hemogat.runtime.gather_session import open_fusion
from hemogat.runtime.sessions import Arrays, open_session
from hemogat.serving.settings import EngineParameters


class Session(Protocol):
    """Runs one exported graph."""

    def run(self, feeds: Arrays) -> Arrays:
        """Return the graph's outputs by name."""


def open_model(bundle: Bundle, parameters: EngineParameters, threads: int, device: str) -> Session:
    """Load the graph that a generated model runs."""
    if parameters.graph == "fusion":
        return open_fusion(
            bundle,
            engine=parameters.engine,
            precision=parameters.precision,
            threads=threads,
            device=device,
            search=parameters.search,
        )
    return open_session(
        bundle,
        parameters.graph,
        engine=parameters.engine,
        precision=parameters.precision,
        threads=threads,
        device=device,
    )


def run_requests(session: Session, requests: Sequence[Arrays]) -> list[Arrays | Exception]:
    """Run all requests as one batch along the first axis, and hand each its own rows.

    When the batch fails, every request is run by itself, so that one that cannot be run fails
    alone.

    Returns:
        For each request its outputs by name, or the error that running it raised.
    """
    try:
        return _run_merged(session, requests)
    except Exception as error:  # whatever an engine raises becomes the answer to a request
        if len(requests) == 1:
            return [error]
        return [run_requests(session, [request])[0] for request in requests]


def threads_per_instance(instances: int) -> int:
    """Return the compute threads that each of ``instances`` processes gets of this machine."""
    return max(1, len(os.sched_getaffinity(0)) // instances)


def _run_merged(session: Session, requests: Sequence[Arrays]) -> list[Arrays | Exception]:
    if len(requests) == 1:  # as it came, without a copy
        return [session.run(requests[0])]
    feeds = {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}
    outputs = session.run(feeds)
    rows = [len(next(iter(request.values()))) for request in requests]
    ends = np.cumsum(rows)
    return [
        {name: output[end - count : end] for name, output in outputs.items()}
        for count, end in zip(rows, ends, strict=True)
    ]
