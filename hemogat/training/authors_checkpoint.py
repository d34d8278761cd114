"""Reading the authors' checkpoints: state dicts of ``MultiModalGNN``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hemogat.config import HeadConfig, parse_settings
from hemogat.errors import InputError
from hemogat.model.head import FusionHead

# Ours: theirs. Their text_attention is asked by the audio, their audio_attention by the text.
_NAMES = {
    "projections.text.": "text_projection.",
    "projections.audio.": "audio_projection.",
    "cmt.audio_to_text.attention.": "cross_fusion.text_attention.",
    "cmt.audio_to_text.linear.": "cross_fusion.text_linear.",
    "cmt.audio_to_text.norm.": "cross_fusion.text_layer_norm.",
    "cmt.text_to_audio.attention.": "cross_fusion.audio_attention.",
    "cmt.text_to_audio.linear.": "cross_fusion.audio_linear.",
    "cmt.text_to_audio.norm.": "cross_fusion.audio_layer_norm.",
    "gnn.layers.0.": "gnn.conv1.",
    "gnn.last.": "gnn.conv_last.",
}
_MIDDLE_LAYER = re.compile(r"gnn\.convs\.(\d{1,3})\.")


@dataclass(frozen=True)
class Checkpoint:
    """A head with the authors' weights, in evaluation mode, and the sizes it was made for."""

    head: FusionHead
    audio_dim: int
    text_dim: int
    labels: int


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a state dict of the authors' ``MultiModalGNN``; its shapes give every size.

    Raises:
        InputError: not a state dict of that network; names the first key that is missing, not
            expected, or of another shape.
        ConfigError: a size that the head does not have, such as five layers.
    """
    state = _load_state(path)
    hidden, text_dim = _shape(path, state, "text_projection.0.weight", 2)
    audio_dim = _shape(path, state, "audio_projection.0.weight", 2)[1]
    labels = _shape(path, state, "mlp.4.weight", 2)[0]
    middle = [int(found[1]) for key in state if (found := _MIDDLE_LAYER.match(key))]
    sizes = {
        "hidden": hidden,
        "heads": _shape(path, state, "gnn.conv1.att_src", 3)[1],
        "final_heads": _shape(path, state, "gnn.conv_last.att_src", 3)[1],
        "num_layers": 3 + max(middle, default=-1),
    }
    config = parse_settings(HeadConfig, sizes, source=str(path))
    with torch.device("meta"):  # every weight is about to come from the file
        head = FusionHead(audio_dim, text_dim, labels, config)
    expected = {_their_name(key): (key, value) for key, value in head.state_dict().items()}
    _check_keys(path, state, expected)
    ours = {
        expected[key][0]: _checked(path, key, value, expected[key][1])
        for key, value in state.items()
    }
    head.load_state_dict(ours, assign=True)
    return Checkpoint(head.eval().requires_grad_(False), audio_dim, text_dim, labels)


def _load_state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch names none, and a damaged file can raise anything
        found = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it calls for {found[1]}" if found else "torch cannot load it"
        raise InputError(
            f"{path}: expected a state dict saved by torch.save, tensors only; refused, because "
            f"{reason}"
        ) from error
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path}: expected a state dict, found {type(state).__name__}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            # Of another key its type alone: tensors in a tuple are told in lines, and at length.
            at = f"{key!r:.60}" if isinstance(key, str) else f"a key that is {type(key).__name__}"
            raise InputError(
                f"{path}: expected a state dict of tensors, found {type(value).__name__} at {at}; "
                f"save the network's state_dict() alone"
            )
    return _newer_names(state)


def _newer_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what PyTorch Geometric before 2.5 called lin_src, and stored again as lin_dst."""
    renamed = {}
    for key, value in state.items():
        twin = state.get(key.replace(".lin_dst.", ".lin_src."))
        if ".lin_dst." in key and twin is not None and torch.equal(twin, value):
            continue
        renamed[key.replace(".lin_src.", ".lin.")] = value
    return renamed


def _shape(path: Path, state: Mapping[str, Tensor], key: str, axes: int) -> tuple[int, ...]:
    if key not in state:
        raise InputError(f"{path}: is not a MultiModalGNN: {key} is missing")
    if state[key].ndim != axes:
        raise InputError(f"{path}: {key}: expected {axes} axes, found {list(state[key].shape)}")
    return tuple(state[key].shape)


def _their_name(key: str) -> str:
    for ours, theirs in _NAMES.items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    layer = re.match(r"gnn\.layers\.(\d+)\.", key)
    if layer:
        return f"gnn.convs.{int(layer[1]) - 1}.{key[layer.end() :]}"
    return key  # gnn.batch_norm, mlp


def _check_keys(path: Path, state: Mapping[str, Tensor], expected: Mapping[str, object]) -> None:
    for keys, fault in (
        ([key for key in expected if key not in state], "is missing"),
        ([key for key in state if key not in expected], "is not expected"),
    ):
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            key = " ".join(keys[0].split())  # on one line, whatever the file holds
            raise InputError(f"{path}: is not a MultiModalGNN: {key:.100} {fault}{more}")


def _checked(path: Path, key: str, value: Tensor, expected: Tensor) -> Tensor:
    if value.shape != expected.shape:
        raise InputError(
            f"{path}: {key}: expected {list(expected.shape)}, found {list(value.shape)}"
        )
    plain = value.layout == torch.strided and value.device.type == "cpu"
    if not plain or value.is_floating_point() != expected.is_floating_point():
        raise InputError(f"{path}: {key}: expected plain {expected.dtype}, found {value.dtype}")
    if not value.isfinite().all():
        raise InputError(f"{path}: {key}: holds values that are not finite")
    return value.to(expected.dtype).contiguous()
