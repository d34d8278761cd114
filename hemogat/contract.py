"""Names, dtypes and axes of every exported graph and served model, declared once.

Export writes graphs to this contract, the runtime and the Triton repository read by it, and the
client speaks it. Axes are names where their size varies by model or by call, numbers where it is
fixed for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Modality = Literal["audio", "text"]
Engine = Literal["onnx", "openvino", "trt"]  # what executes a graph in process
# int8-bf16: int8 products, and convolutions, which are not quantised, in bf16.
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-bf16"]
INT8_PRECISIONS: tuple[Precision, ...] = ("int8", "int8-bf16")
BF16_PRECISIONS: tuple[Precision, ...] = ("bf16", "int8-bf16")
SearchMode = Literal["exact", "int8", "ivf"]  # how a bank outside the fusion graph is searched
SearchChoice = Literal["auto", "exact", "int8", "ivf"]  # auto: by the bank's size
MODALITIES: tuple[Modality, ...] = ("audio", "text")
# Which way messages flow along the edge between a node and one of its neighbours: to the node, or
# (the authors' code) from it.
Direction = Literal["incoming", "outgoing"]

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 16_000  # the paper's chunk: 1 s at 16 kHz (Section 3.1)

# The graph step, as a model-local function: a TensorRT plugin of the same name can replace it.
FUNCTION_DOMAIN = "hemogat"
TOPK_FUNCTION = "TopKBankGraph"

DTypeName = Literal["float32", "int64", "bool", "bytes"]
# Axes whose size may differ from call to call; every other axis is static in an exported graph.
DYNAMIC_AXES = frozenset({"window", "batch", "token"})


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, dtype and axes (batch axis first)."""

    name: str
    dtype: DTypeName
    axes: tuple[str | int, ...]


@dataclass(frozen=True)
class GraphSpec:
    """One exported graph: what goes in, what comes out."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec:
        """Return the input called ``name``."""
        return next(spec for spec in self.inputs if spec.name == name)

    def output(self, name: str) -> TensorSpec:
        """Return the output called ``name``."""
        return next(spec for spec in self.outputs if spec.name == name)


AUDIO_EMBEDDING = TensorSpec("audio_embedding", "float32", ("batch", "audio_dim"))
TEXT_EMBEDDING = TensorSpec("text_embedding", "float32", ("batch", "text_dim"))

AUDIO_ENCODER = GraphSpec(
    "audio_encoder",
    inputs=(TensorSpec("windows", "float32", ("window", WINDOW_SAMPLES)),),
    # One embedding per window: the caller averages the windows of an utterance.
    outputs=(TensorSpec("audio_embedding", "float32", ("window", "audio_dim")),),
)
TEXT_ENCODER = GraphSpec(
    "text_encoder",
    inputs=(
        TensorSpec("input_ids", "int64", ("batch", "token")),
        TensorSpec("attention_mask", "int64", ("batch", "token")),
    ),
    outputs=(TEXT_EMBEDDING,),
)
FUSION = GraphSpec(
    "fusion",
    inputs=(
        AUDIO_EMBEDDING,
        TEXT_EMBEDDING,
        TensorSpec("present", "bool", ("batch", 2)),  # columns as MODALITIES
    ),
    outputs=(
        TensorSpec("logits", "float32", ("batch", "label")),
        TensorSpec("probabilities", "float32", ("batch", "label")),
        TensorSpec("neighbours", "int64", ("batch", "slot")),  # bank rows, -1 where masked
        TensorSpec("similarities", "float32", ("batch", "slot")),  # cosine, 0 where masked
        # Last layer, mean over heads; the last column is the node itself.
        TensorSpec("attention", "float32", ("batch", "slot_and_self")),
    ),
)


def fusion_spec(slots: int, *, attention: bool) -> GraphSpec:
    """Return the fusion graph of a head with ``slots`` neighbour slots.

    Without slots there are no neighbours to tell of; ``attention``: whether its layers attend.
    """
    outputs = 2 if not slots else 5 if attention else 4
    return GraphSpec(FUSION.name, FUSION.inputs, FUSION.outputs[:outputs])


def fusion_gather_spec(slots: int, widths: Sequence[int], *, attention: bool) -> GraphSpec:
    """Return the fusion graph whose neighbours are searched, and states gathered, outside of it.

    ``widths``: what a row's state at each layer takes.
    """
    outputs = (*FUSION.outputs[:2], *(FUSION.outputs[4:] if attention else ()))
    inputs = (*FUSION.inputs, *_gathered(slots, widths))
    return GraphSpec("fusion_gather", inputs, outputs)


def bank_states_spec(slots: int, widths: Sequence[int], *, labels: bool) -> GraphSpec:
    """Return the graph that gives the per-layer states of rows to be added to a bank.

    ``labels``: whether messages carry labels, so that the rows' own are an input.
    """
    label = (TensorSpec("label", "int64", ("batch",)),) if labels else ()
    states = (TensorSpec(f"states_{n}", "float32", ("batch", w)) for n, w in enumerate(widths))
    inputs = (*FUSION.inputs, *label, *_gathered(slots, widths))
    return GraphSpec("bank_states", inputs, tuple(states))


def _gathered(slots: int, widths: Sequence[int]) -> tuple[TensorSpec, ...]:
    states = (
        TensorSpec(f"neighbour_states_{layer}", "float32", ("batch", slots, width))
        for layer, width in enumerate(widths)
    )
    return (TensorSpec("neighbours", "int64", ("batch", slots)), *states)


GRAPHS: dict[str, GraphSpec] = {g.name: g for g in (AUDIO_ENCODER, TEXT_ENCODER, FUSION)}

# The model that clients call (axes without the batch, which Triton adds).
ENTRY_MODEL = "hemogat"
AUDIO_INPUT = TensorSpec("AUDIO", "bytes", (1,))  # a whole audio file
TEXT_INPUT = TensorSpec("TEXT", "bytes", (1,))  # UTF-8
LABEL_OUTPUT = TensorSpec("LABEL", "bytes", (1,))
PROBABILITIES_OUTPUT = TensorSpec("PROBABILITIES", "float32", ("label",))
MODALITIES_OUTPUT = TensorSpec("MODALITIES", "bytes", (1,))  # "audio", "text" or "audio,text"
NEIGHBOURS_OUTPUT = TensorSpec("NEIGHBOURS", "int64", ("slot",))
SIMILARITIES_OUTPUT = TensorSpec("SIMILARITIES", "float32", ("slot",))

# The model that takes one utterance in pieces; its outputs are the entry model's, and this one.
STREAM_MODEL = "hemogat_stream"
SAMPLES_INPUT = TensorSpec("SAMPLES", "float32", ("sample",))  # mono, any number
RATE_INPUT = TensorSpec("RATE_HZ", "int64", (1,))  # with the first piece; 16,000 if left out
WINDOWS_OUTPUT = TensorSpec("WINDOWS", "int64", (1,))  # heard so far


def triton_model_name(graph: str) -> str:
    """Return the Triton model that runs exported graph ``graph``."""
    return f"{ENTRY_MODEL}_{graph}"
