"""The encoders as optimum-onnx runs them in ONNX Runtime; runs in the peers' environment."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
from optimum.onnxruntime import ORTModelForFeatureExtraction

from hemogat.benchmarks.runners import noise_windows, size_mib, token_arrays
from hemogat.benchmarks.targets import Case, Component, PeerTarget, Target
from hemogat.benchmarks.worker import answer_requests
from hemogat.benchmarks.worker_protocol import Opened

COMPONENTS: tuple[Component, ...] = ("audio_encoder", "text_encoder", "encoders")


class OptimumRunner:
    """Arrays in, one embedding per window or text out."""

    def __init__(self, target: Target, threads: int | None, device: str) -> None:
        assert isinstance(target, PeerTarget)
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads

        def load(name: str) -> ORTModelForFeatureExtraction:
            return ORTModelForFeatureExtraction.from_pretrained(
                target.folder / f"{name}-optimum",
                provider="CPUExecutionProvider",
                session_options=options,
            )

        self._audio, self._text = load("audio"), load("text")
        files = {f for n in ("audio", "text") for f in (target.folder / f"{n}-optimum").iterdir()}
        self.opened = Opened(components=COMPONENTS, size_mib=size_mib(files))

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once."""
        windows = noise_windows(case.batch * case.windows)
        feeds = token_arrays(case.batch, case.tokens)

        def hear() -> object:
            scaled = (windows - windows.mean(1, keepdims=True)) / windows.std(1, keepdims=True)
            return self._audio(input_values=scaled).last_hidden_state.mean(1)

        def read() -> object:
            return self._text(**feeds).last_hidden_state.mean(1)

        runs = {"audio_encoder": hear, "text_encoder": read, "encoders": lambda: (hear(), read())}
        return runs[case.component]


answer_requests(OptimumRunner)
