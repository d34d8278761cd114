"""Triton model configurations of a bundle, as protobuf messages."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from hemogat import contract
from hemogat.contract import DTypeName, Engine, GraphSpec, Precision, TensorSpec
from hemogat.optional import require
from hemogat.runtime.bundle import SUMS_FILE, Bundle, sha256_of
from hemogat.runtime.gather_session import search_outside
from hemogat.runtime.openvino_session import BF16_ROWS
from hemogat.runtime.parity_report import warn_if_never_compared
from hemogat.serving.settings import (
    ENGINE_OF_BACKEND,
    BatchingSettings,
    EngineParameters,
    EntryParameters,
    ModelParameters,
    RepositorySettings,
    StreamParameters,
)

LABELS_FILE = "labels.txt"
# What Triton's own backends look for in a model's version folder.
MODEL_FILES = {"onnxruntime": "model.onnx", "openvino": "model.xml", "tensorrt": "model.plan"}
# Outputs of the fusion graph that the entry model asks for; the rest stays inside.
FUSION_OUTPUTS = ("probabilities",)
EXPLAIN_OUTPUTS = ("neighbours", "similarities")

# Beyond its candidates Triton lets streams wait without a word, for as long as one idles. The model
# refuses at once what is beyond its limit, and Triton keeps a place even for what was refused.
_CANDIDATES_PER_STREAM = 16

_TRITON_DTYPES: dict[DTypeName, str] = {
    "float32": "TYPE_FP32",
    "int64": "TYPE_INT64",
    "bool": "TYPE_BOOL",
    "bytes": "TYPE_STRING",
}


def served_graph(graph: GraphSpec, *, explain: bool) -> GraphSpec:
    """Return ``graph`` with the outputs that its Triton model hands out."""
    if graph.name != contract.FUSION.name:
        return graph
    names = FUSION_OUTPUTS + (EXPLAIN_OUTPUTS if explain else ())
    return GraphSpec(graph.name, graph.inputs, tuple(graph.output(name) for name in names))


def served_engine(bundle: Bundle, settings: RepositorySettings) -> tuple[Engine, Precision]:
    """Return the engine and precision to serve.

    Raises:
        BundleError: the bundle has none that was asked for.
    """
    engine = settings.engine or ENGINE_OF_BACKEND.get(settings.backend)
    return bundle.select(engine, settings.precision)


def model_configs(bundle: Bundle, settings: RepositorySettings) -> list[Any]:
    """Return the ``ModelConfig`` message of every model that serves ``bundle``.

    An engine that was never compared is warned of.

    Raises:
        BundleError: the bundle has no such engine and precision, or its bank cannot be searched
            as the settings say.
        ConfigError: the engine does not run on the device, or not without the bank inside.
    """
    # Refuse here what could not load.
    search_outside(bundle, *served_engine(bundle, settings), settings.search)
    warn_if_never_compared(bundle, *served_engine(bundle, settings))
    builder = _Builder(bundle, settings)
    entrances = [builder.entry()]
    if "audio" in bundle.manifest.modalities:
        entrances.append(builder.stream())
    there = {model.graph for model in bundle.manifest.models}  # one encoder for one modality
    graphs = (graph for name, graph in contract.GRAPHS.items() if name in there)
    return [*entrances, *(builder.engine(graph) for graph in graphs)]


class _Builder:
    """Turns contract, bundle facts and settings into messages."""

    def __init__(self, bundle: Bundle, settings: RepositorySettings) -> None:
        self._settings = settings
        self._engine, self._precision = served_engine(bundle, settings)
        self._device = settings.device_for(self._engine)
        self._bundle_path = settings.bundle_path or bundle.path.resolve()
        self._bundle_sums = sha256_of(bundle.path / SUMS_FILE)
        manifest = bundle.manifest
        self._labels = manifest.labels
        self._explain = settings.explain and manifest.slots > 0
        self._token_buckets = manifest.text.token_buckets
        self._max_audio_bytes = manifest.audio.max_audio_bytes
        self._axis_sizes = {
            "audio_dim": manifest.dims.audio,
            "text_dim": manifest.dims.text,
            "label": len(manifest.labels),
            "slot": manifest.slots,
            "token": -1,
            "sample": -1,
        }
        self._pb = _model_config_pb2()

    def entry(self) -> Any:
        """Return the configuration of the model that clients call."""
        parameters = EntryParameters(
            **self._request_parameters(),
            explain=self._explain,
            max_audio_bytes=self._max_audio_bytes,
        )
        # No dynamic batcher: the model works on many requests at once by itself.
        config = self._python_model(contract.ENTRY_MODEL, self._max_rows(), parameters)
        for spec in (contract.AUDIO_INPUT, contract.TEXT_INPUT):
            self._add_tensor(config.input, spec, spec.axes).optional = True
        explanation = (contract.NEIGHBOURS_OUTPUT, contract.SIMILARITIES_OUTPUT)
        self._add_answer(config, *(explanation if self._explain else ()))
        return config

    def stream(self) -> Any:
        """Return the configuration of the model that takes an utterance in pieces."""
        idle_s = self._settings.stream_idle_s
        parameters = StreamParameters(
            **self._request_parameters(),
            stream_idle_s=idle_s,
            max_streams=self._settings.max_streams,
        )
        config = self._python_model(contract.STREAM_MODEL, 1, parameters)
        self._add_tensor(config.input, contract.SAMPLES_INPUT, contract.SAMPLES_INPUT.axes)
        for spec in (contract.RATE_INPUT, contract.TEXT_INPUT):
            self._add_tensor(config.input, spec, spec.axes).optional = True
        self._add_answer(config, contract.WINDOWS_OUTPUT)
        # All pieces of a stream go to one process, one after the other.
        batcher = config.sequence_batching
        candidates = _CANDIDATES_PER_STREAM * self._settings.max_streams
        batcher.oldest.max_candidate_sequences = candidates
        batcher.max_sequence_idle_microseconds = idle_s * 1_000_000
        return config

    def engine(self, graph: GraphSpec) -> Any:
        """Return the configuration of the model that runs ``graph``."""
        batching: BatchingSettings = getattr(self._settings, graph.name)
        max_batch_size = self._max_batch_size(graph)
        name = contract.triton_model_name(graph.name)
        if self._settings.backend == "python":
            config = self._python_model(name, max_batch_size, self._parameters(graph))
            if self._device == "gpu":
                config.instance_group[0].kind = self._pb.ModelInstanceGroup.KIND_GPU
        else:
            config = self._native_model(graph, max_batch_size)
        # No queue size or timeout here: with either, Triton lets a request that comes just as an
        # instance finishes lie, and can stall (triton-inference-server/server
        # issue 8870). The entry model limits what gets here.
        config.dynamic_batching.max_queue_delay_microseconds = batching.queue_delay_us
        served = served_graph(graph, explain=self._explain)
        for spec in served.inputs:
            self._add_tensor(config.input, spec, spec.axes[1:])
        for spec in served.outputs:
            self._add_tensor(config.output, spec, spec.axes[1:])
        self._add_warmups(config, served)
        return config

    def _parameters(self, graph: GraphSpec) -> EngineParameters:
        return EngineParameters.model_validate(
            {
                "bundle": self._bundle_path,
                "graph": graph.name,
                "engine": self._engine,
                "precision": self._precision,
                "threads": self._settings.threads,
                "search": self._settings.search if graph.name == contract.FUSION.name else None,
                "device": "cuda" if self._device == "gpu" else "cpu",
            }
        )

    def _request_parameters(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "bundle": self._bundle_path,
            "bundle_sums": self._bundle_sums,
            "labels": self._labels,
            "max_in_flight": settings.max_in_flight,
            "max_waiting": settings.max_waiting,
            "max_wait_ms": settings.max_wait_ms,
            "timeout_ms": settings.timeout_ms,
            "max_windows": self._max_batch_size(contract.AUDIO_ENCODER),
        }

    def _python_model(self, name: str, max_batch_size: int, parameters: ModelParameters) -> Any:
        config = self._model(name, "python", max_batch_size)
        config.instance_group[0].kind = self._pb.ModelInstanceGroup.KIND_CPU
        _add_parameters(config, parameters.to_strings())
        return config

    def _max_rows(self) -> int:
        """Return how many rows a request may have: those that each graph takes at once."""
        graphs = (contract.TEXT_ENCODER, contract.FUSION)  # windows are sent in parts
        return min(self._settings.max_rows, *map(self._max_batch_size, graphs))

    def _max_batch_size(self, graph: GraphSpec) -> int:
        """Return the settings', or less where an answer would depend on its batch."""
        batching: BatchingSettings = getattr(self._settings, graph.name)
        if self._settings.backend == "openvino" and self._in_bf16(graph):
            return min(batching.max_batch_size, BF16_ROWS)  # our own session splits by itself
        return batching.max_batch_size

    def _in_bf16(self, graph: GraphSpec) -> bool:
        """Say whether export marked the IR for bf16, which Triton's backend does not read."""
        if self._precision == "int8-bf16":
            return graph.name == contract.AUDIO_ENCODER.name  # the one that has convolutions
        return self._precision == "bf16"

    def _native_model(self, graph: GraphSpec, max_batch_size: int) -> Any:
        """Return a model of one of Triton's own backends, which is told what ours know."""
        settings = self._settings
        name = contract.triton_model_name(graph.name)
        config = self._model(name, settings.backend, max_batch_size)
        config.default_model_filename = MODEL_FILES[settings.backend]
        if settings.backend == "tensorrt":
            config.optimization.cuda.graphs = True
        elif settings.backend == "openvino":
            # Unasked, OpenVINO computes in bfloat16 where the processor can.
            hint = "bf16" if self._in_bf16(graph) else "f32"
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
            threads = {"INFERENCE_NUM_THREADS": settings.threads} if settings.threads else {}
            _add_parameters(config, options | {k: str(v) for k, v in threads.items()})
        elif settings.threads is not None:
            _add_parameters(config, {"intra_op_thread_count": str(settings.threads)})
        return config

    def _model(self, name: str, backend: str, max_batch_size: int) -> Any:
        config = self._pb.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)
        config.version_policy.latest.num_versions = 1
        on_gpu = self._device == "gpu"
        kinds = self._pb.ModelInstanceGroup
        config.instance_group.add(
            kind=kinds.KIND_GPU if on_gpu else kinds.KIND_CPU, count=self._settings.instances
        )
        config.response_cache.enable = False  # answers are about people: none is kept
        return config

    def _add_answer(self, config: Any, *more: TensorSpec) -> None:
        answer = (contract.LABEL_OUTPUT, contract.PROBABILITIES_OUTPUT, contract.MODALITIES_OUTPUT)
        for spec in (*answer, *more):
            tensor = self._add_tensor(config.output, spec, spec.axes)
            if spec is contract.PROBABILITIES_OUTPUT:
                # Clients that ask for classification get "value:index:label".
                tensor.label_filename = LABELS_FILE

    def _add_tensor(self, tensors: Any, spec: TensorSpec, axes: tuple[str | int, ...]) -> Any:
        return tensors.add(
            name=spec.name,
            data_type=self._pb.DataType.Value(_TRITON_DTYPES[spec.dtype]),
            dims=self._dims(axes),
        )

    def _dims(self, axes: tuple[str | int, ...]) -> list[int]:
        return [axis if isinstance(axis, int) else self._axis_sizes[axis] for axis in axes]

    def _add_warmups(self, config: Any, graph: GraphSpec) -> None:
        """Run every input shape once before the model counts as ready."""
        has_tokens = any("token" in spec.axes for spec in graph.inputs)
        for tokens in self._token_buckets if has_tokens else (0,):
            warmup = config.model_warmup.add(
                name=f"{tokens} tokens" if has_tokens else graph.name, batch_size=1
            )
            for tensor in config.input:
                warmup_input = warmup.inputs[tensor.name]
                warmup_input.data_type = tensor.data_type
                warmup_input.dims.extend(tokens if dim == -1 else dim for dim in tensor.dims)
                warmup_input.zero_data = True


def _add_parameters(config: Any, parameters: Mapping[str, str]) -> None:
    for key, value in parameters.items():
        config.parameters[key].string_value = value


def _model_config_pb2() -> ModuleType:
    return require("tritonclient.grpc.model_config_pb2", extra="serve")
