"""The encoders in plain transformers: ``eager`` as loaded, or ``compile`` through torch.compile."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from transformers import AutoModel

from hemogat.benchmarks.runners import noise_windows, size_mib, token_arrays
from hemogat.benchmarks.targets import Case, Component, PeerTarget, Target
from hemogat.benchmarks.torch_calls import check_compiler
from hemogat.benchmarks.worker import answer_requests
from hemogat.benchmarks.worker_protocol import Opened

COMPONENTS: tuple[Component, ...] = ("audio_encoder", "text_encoder", "encoders")


class TransformersRunner:
    """Tensors in, one embedding per window or text out."""

    def __init__(self, target: Target, threads: int | None, device: str) -> None:
        assert isinstance(target, PeerTarget)
        if threads is not None:
            torch.set_num_threads(threads)
        models = [AutoModel.from_pretrained(target.folder / n).eval() for n in ("audio", "text")]
        if sys.argv[1] == "compile":
            check_compiler()
            # Each number of tokens gets code of its own, which is the fastest that it has.
            models = [torch.compile(model, dynamic=False) for model in models]
        self._audio, self._text = models
        files = {f for n in ("audio", "text") for f in (target.folder / n).iterdir()}
        self.opened = Opened(components=COMPONENTS, size_mib=size_mib(files))

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once."""
        windows = torch.from_numpy(noise_windows(case.batch * case.windows))
        feeds = {n: torch.from_numpy(a) for n, a in token_arrays(case.batch, case.tokens).items()}

        @torch.inference_mode()
        def hear() -> object:
            scaled = (windows - windows.mean(1, keepdim=True)) / windows.std(1, keepdim=True)
            return self._audio(scaled).last_hidden_state.mean(1)

        @torch.inference_mode()
        def read() -> object:
            return self._text(**feeds).last_hidden_state.mean(1)

        runs = {"audio_encoder": hear, "text_encoder": read, "encoders": lambda: (hear(), read())}
        return runs[case.component]


answer_requests(TransformersRunner)
