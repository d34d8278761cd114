"""The fusion graph with its bank outside: searched here, and only the rows found are handed in."""

from __future__ import annotations

import numpy as np

from hemogat.contract import Engine
from hemogat.errors import BundleError
from hemogat.runtime.bank_search import BankSearch, SearchMode, gather_states
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.sessions import open_graph

_OUTPUTS = ("logits", "probabilities", "neighbours", "similarities", "attention")


class GatherSession:
    """Search, gather, classify: the inputs and outputs of the ``fusion`` graph.

    The bank's states stay on disk, mapped into memory; what is kept are the codes that the search
    scans.

    Raises:
        BundleError: the bundle was exported without ``fusion_gather``.
        ConfigError, IncompleteError: as :class:`hemogat.runtime.bank_search.BankSearch`.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: Engine = "onnx",
        mode: SearchMode | None = None,
        threads: int | None = None,
    ) -> None:
        bank = bundle.manifest.bank
        if bank.gather is None:
            raise BundleError(
                f"{bundle.path}: has no fusion_gather graph to search its bank outside "
                f"the fusion graph; export it with: hemogat export --gather"
            )
        self._tensors = map_tensors(bundle.path / bank.tensors)
        self.search = BankSearch(self._tensors, bundle.manifest.graph, mode=mode)
        self._graph = open_graph(str(bundle.path / bank.gather), engine, threads=threads)
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
