"""Targets, loaded and ready to be timed; those in torch have modules of their own."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
import soundfile
from numpy.typing import NDArray

from hemogat.benchmarks.reference import ReferenceRunner
from hemogat.benchmarks.targets import (
    COMPONENTS,
    BundleTarget,
    Case,
    Component,
    GatherTarget,
    GraphsTarget,
    PeerTarget,
    ReferenceTarget,
    ServedTarget,
    Target,
    shape_of_bundle,
)
from hemogat.benchmarks.worker_protocol import Opened
from hemogat.contract import SAMPLE_RATE_HZ, WINDOW_SAMPLES
from hemogat.data.text import TokenizedText
from hemogat.errors import ConfigError
from hemogat.runtime.bank_search import BankSearch, gather_states
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.bundle import Bundle, Dims
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.preprocess import PreparedUtterance
from hemogat.runtime.sessions import open_graph
from hemogat.serving.client import Client

_IN_TORCH = {  # by a target's kind; modules of their own, as torch takes seconds to import
    "run": ("hemogat.benchmarks.torch_runners", "RunRunner"),
    "preset": ("hemogat.benchmarks.torch_runners", "PresetRunner"),
    "head": ("hemogat.benchmarks.head_runner", "HeadRunner"),
}
_SPECIAL_TOKENS = 2  # BERT's before and after the text
_LOUDNESS = 0.1
_BASE_VOCABULARY = (1000, 30_000)  # of BERT-base: real word pieces


class Runner(Protocol):
    """One loaded target."""

    opened: Opened

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once.

        Raises:
            HemogatError: the target cannot run it.
        """
        ...


def open_runner(target: Target, threads: int | None, device: str) -> Runner:
    """Load a target.

    Raises:
        HemogatError: it cannot be loaded here.
    """
    if isinstance(target, BundleTarget):
        return BundleRunner(target, threads, device)
    if isinstance(target, GraphsTarget):
        return GraphsRunner(target, threads, device)
    if isinstance(target, GatherTarget):
        return GatherRunner(target, threads, device)
    if isinstance(target, ServedTarget):
        return ServedRunner(target)
    if isinstance(target, ReferenceTarget):
        return ReferenceRunner(target, threads)
    assert not isinstance(target, PeerTarget), "a peer has a worker of its own"
    module, name = _IN_TORCH[target.kind]
    runner: Runner = getattr(importlib.import_module(module), name)(target, threads, device)
    return runner


class BundleRunner:
    """A bundle in process: the pipeline's own methods, without torch."""

    def __init__(self, target: BundleTarget, threads: int | None, device: str) -> None:
        bundle = Bundle.open(target.path, verify=False)  # the process that started this one has
        self._pipeline = Pipeline(
            bundle, engine=target.engine, precision=target.precision, threads=threads, device=device
        )
        manifest = bundle.manifest
        absent = {f"{m}_encoder" for m in ("audio", "text") if m not in manifest.modalities}
        files = [
            path
            for model in manifest.models
            if (model.engine, model.precision) == (target.engine, target.precision)
            for path in (target.path / model.path).parent.iterdir()
        ]
        self.opened = Opened(
            components=tuple(c for c in COMPONENTS if c not in absent),
            gnn=manifest.head.gnn if manifest.slots else "none",
            bank_rows=manifest.bank.rows,
            size_mib=size_mib({*files, target.path / manifest.bank.tensors}),
            shape=shape_of_bundle(manifest),
        )

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once."""
        pipeline = self._pipeline
        if case.component == "fusion":
            feeds = random_embeddings(case.batch, pipeline.bundle.manifest.dims)
            pairs = list(zip(feeds["audio_embedding"], feeds["text_embedding"], strict=True))
            return lambda: pipeline.fuse(list(pairs))
        if case.component == "audio_encoder":
            heard = [PreparedUtterance(noise_windows(case.windows), None)] * case.batch
            return lambda: pipeline.embed_audio(heard)
        audio: bytes | None = None
        text: str | None = None
        if "text" in pipeline.bundle.manifest.modalities:
            text = text_of(case.tokens)
            tokens = check_tokens(pipeline.preprocessor.tokenise(text), case.tokens)
        if case.component == "text_encoder":
            written = [PreparedUtterance(None, tokens)] * case.batch
            return lambda: pipeline.embed_text(written)
        if "audio" in pipeline.bundle.manifest.modalities:
            audio = wav_bytes(case.windows)
        return lambda: pipeline([audio] * case.batch, [text] * case.batch)


class GraphsRunner:
    """Exported graphs' files in an engine, each alone; end to end is all, one after the other.

    ``encoders`` are both, without the head.
    """

    def __init__(self, target: GraphsTarget, threads: int | None, device: str) -> None:
        self._sessions = {
            graph: open_graph(str(path), target.engine, threads=threads, device=device)
            for graph, path in target.paths.items()
        }
        self._dims = target.shape.dims
        files = {file for path in target.paths.values() for file in path.parent.iterdir()}
        whole: tuple[Component, ...] = ("encoders", "end_to_end")
        offered = {*self._sessions, *(whole if len(self._sessions) == 3 else ())}
        self.opened = Opened(
            components=tuple(c for c in get_args(Component) if c in offered),
            gnn=target.shape.head.gnn,
            bank_rows=target.shape.bank_rows,
            size_mib=size_mib(files),
            shape=target.shape,
        )

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once."""
        feeds: dict[str, Arrays] = {
            "audio_encoder": {"windows": noise_windows(case.batch * case.windows)},
            "text_encoder": token_arrays(case.batch, case.tokens),
            "fusion": random_embeddings(case.batch, self._dims),
        }
        if case.component == "end_to_end":
            return lambda: self._whole(feeds, case.batch)
        if case.component == "encoders":
            return lambda: self._encode(feeds, case.batch)
        session = next(s for graph, s in self._sessions.items() if graph == case.component)
        given = feeds[case.component]
        return lambda: session.run(given)

    def _whole(self, feeds: Mapping[str, Arrays], batch: int) -> Arrays:
        return self._sessions["fusion"].run({**feeds["fusion"], **self._encode(feeds, batch)})

    def _encode(self, feeds: Mapping[str, Arrays], batch: int) -> Arrays:
        heard = self._sessions["audio_encoder"].run(feeds["audio_encoder"])["audio_embedding"]
        written = self._sessions["text_encoder"].run(feeds["text_encoder"])
        return {"audio_embedding": heard.reshape(batch, -1, heard.shape[1]).mean(1), **written}


class GatherRunner:
    """The fusion step with its bank searched outside the graph."""

    def __init__(self, target: GatherTarget, threads: int | None, device: str) -> None:
        shape, self._tensors = target.shape, map_tensors(target.bank)
        self._search = BankSearch(self._tensors, shape.graph, mode=target.mode)
        self._graph = open_graph(str(target.path), target.engine, threads=threads, device=device)
        self._dims, self._layers = shape.dims, range(shape.head.num_layers)
        self.opened = Opened(
            components=("fusion",),
            gnn=shape.head.gnn,
            bank_rows=shape.bank_rows,
            size_mib=size_mib({*target.path.parent.iterdir(), target.bank}),
            shape=shape,
        )

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once."""
        feeds = random_embeddings(case.batch, self._dims)
        return lambda: self.answer(feeds)

    def answer(self, feeds: Arrays) -> Arrays:
        """Search, gather, classify."""
        found = self._search(*(feeds[n] for n in ("audio_embedding", "text_embedding", "present")))
        return self._graph.run({**feeds, **gather_states(self._tensors, self._layers, found.index)})


class ServedRunner:
    """A server, through its client: what the caller waits."""

    def __init__(self, target: ServedTarget) -> None:
        self._client = Client(target.url)
        self._client.server_version()  # refuse now what cannot be reached
        self.opened = Opened(components=("end_to_end",))

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a case, and return what runs it once."""
        audio, text = [wav_bytes(case.windows)] * case.batch, [text_of(case.tokens)] * case.batch
        return lambda: self._client.predict_many(audio, text)


def random_embeddings(batch: int, dims: Dims, seed: int = 0) -> Arrays:
    """Return inputs of the fusion graph, both modalities present."""
    random = np.random.default_rng(seed)
    return {
        "audio_embedding": random.standard_normal((batch, dims.audio)).astype(np.float32),
        "text_embedding": random.standard_normal((batch, dims.text)).astype(np.float32),
        "present": np.ones((batch, 2), np.bool_),
    }


def token_arrays(batch: int, tokens: int) -> Arrays:
    """Return inputs of a BERT with the base vocabulary, nothing padded."""
    random = np.random.default_rng(0)
    ids = random.integers(*_BASE_VOCABULARY, (batch, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def noise_windows(windows: int) -> NDArray[np.float32]:
    """Return white noise, float32 [windows, WINDOW_SAMPLES]."""
    random = np.random.default_rng(0)
    return (_LOUDNESS * random.standard_normal((windows, WINDOW_SAMPLES))).astype(np.float32)


def wav_bytes(windows: int) -> bytes:
    """Return the same noise as a WAV file of 16 kHz, 16 bits."""
    file = io.BytesIO()
    samples = noise_windows(windows).reshape(-1)
    soundfile.write(file, samples, SAMPLE_RATE_HZ, format="WAV", subtype="PCM_16")
    return file.getvalue()


def text_of(tokens: int) -> str:
    """Return a text that BERT's kind of tokenizer makes ``tokens`` tokens of."""
    return " ".join(["a"] * max(1, tokens - _SPECIAL_TOKENS))


def check_tokens(found: TokenizedText | None, tokens: int) -> TokenizedText:
    """Return what was tokenised if it is as long as was asked for.

    Raises:
        ConfigError: it is longer or shorter: the lengths that occur are few.
    """
    assert found is not None
    if len(found.input_ids) != tokens:
        raise ConfigError(
            f"--tokens {tokens}: this model pads such a text to {len(found.input_ids)}; "
            f"expected one of its text.token_buckets"
        )
    return found


def size_mib(files: set[Path]) -> float:
    """Return what files take on disk, MiB."""
    return sum(file.stat().st_size for file in files) / 2**20
