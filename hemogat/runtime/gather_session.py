"""The fusion graph with its bank outside: searched here, and only the rows found are handed in."""

from __future__ import annotations

from typing import get_args

import numpy as np

from hemogat.contract import Engine, Precision, SearchChoice, SearchMode
from hemogat.errors import ConfigError, IncompleteError
from hemogat.optional import require
from hemogat.runtime.bank_search import (
    APPROXIMATE_FROM_ROWS,
    INSIDE_BELOW_ROWS,
    BankSearch,
    gather_states,
)
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.engine_session import Arrays, EngineSession
from hemogat.runtime.sessions import open_graph, open_session
from hemogat.runtime.stored_index import check_index, read_index

_OUTPUTS = ("logits", "probabilities", "neighbours", "similarities", "attention")


class GatherSession:
    """Search, gather, classify: the inputs and outputs of the ``fusion`` graph.

    The bank's states stay on disk, mapped into memory; what is kept are the codes that the search
    scans. ``device`` is the graph's; the search runs on the CPU.

    Raises:
        BundleError: the bundle was exported without ``fusion_gather``, or its index does not fit.
        ConfigError, IncompleteError: as :class:`hemogat.runtime.bank_search.BankSearch`.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: Engine = "onnx",
        precision: Precision = "fp32",
        mode: SearchMode,
        threads: int | None = None,
        device: str | None = None,
    ) -> None:
        gather = bundle.gather_path(engine, precision)
        self._tensors = map_tensors(bundle.path / bundle.manifest.bank.tensors)
        files, graph = bundle.manifest.bank, bundle.manifest.graph
        stored = files.ivf if mode == "ivf" else None
        index = read_index(bundle.path, stored, graph, self._tensors)
        self.search = BankSearch(self._tensors, graph, mode=mode, index=index)
        check_index(bundle, self.search.scans)
        self._graph = open_graph(str(gather), engine, threads=threads, device=device)
        self._layers = range(bundle.manifest.head.num_layers)
        self.inputs = self._graph.inputs[:3]
        given = {*self._graph.outputs, "neighbours", "similarities"}
        self.outputs = tuple(name for name in _OUTPUTS if name in given)

    def run(self, feeds: Arrays) -> Arrays:
        """Run the graph; inputs and outputs by the contract's names."""
        audio, text = feeds["audio_embedding"], feeds["text_embedding"]
        found = self.search(audio, text, np.asarray(feeds["present"]))
        gathered = gather_states(self._tensors, self._layers, found.index)
        answers = self._graph.run({**feeds, **gathered})
        answers |= {"neighbours": found.index, "similarities": found.similarity}
        return {name: answers[name] for name in self.outputs}


def open_fusion(
    bundle: Bundle,
    *,
    engine: Engine = "onnx",
    precision: Precision = "fp32",
    threads: int | None = None,
    device: str | None = None,
    search: SearchChoice | None = None,
) -> EngineSession:
    """Load the fusion step: the ``fusion`` graph, or with ``search`` the bank outside a graph.

    ``search``: as :func:`search_outside` takes it.

    Raises:
        BundleError: the bundle has no such graph, or the engine cannot load it.
        ConfigError: the engine does not run on ``device``, or not without the bank inside.
        IncompleteError: the engine is not installed, or what ``search`` needs is not.
    """
    mode = search_outside(bundle, engine, precision, search)
    if mode is None:
        return open_session(
            bundle, "fusion", engine=engine, precision=precision, threads=threads, device=device
        )
    return GatherSession(
        bundle, engine=engine, precision=precision, mode=mode, threads=threads, device=device
    )


def search_outside(
    bundle: Bundle, engine: Engine, precision: Precision, search: SearchChoice | None
) -> SearchMode | None:
    """Return how the bank is searched outside the fusion graph; None: the graph searches it.

    ``auto`` goes by the bank's rows: the graph to 20,000, ``int8`` to 100,000, ``ivf`` from there.
    It stays with the graph where there is nothing else: in TensorRT's plans, in a bundle without
    ``fusion_gather``, for a head without neighbours, and where faiss is not installed.

    Raises:
        BundleError: a mode is asked for by name, and the bundle has no ``fusion_gather``.
        ConfigError: a mode is asked for by name, and the engine has the bank inside.
    """
    if search == "auto":
        bank = bundle.manifest.bank
        if engine == "trt" or bank.gather is None or bank.rows < INSIDE_BELOW_ROWS:
            return None
        mode: SearchMode = "int8" if bank.rows < APPROXIMATE_FROM_ROWS else "ivf"
        return mode if mode in installed_searches() else None
    if search is None:
        return None
    if engine == "trt":
        raise ConfigError(f"search {search}: engine trt has the bank inside its plan; leave it out")
    bundle.gather_path(engine, precision)
    return search


def installed_searches() -> tuple[SearchMode, ...]:
    """Return the modes that this installation can search by."""
    try:
        require("faiss", extra="search")
    except IncompleteError:
        return ("exact",)
    return get_args(SearchMode)
