"""Reading transformers' models: by name or folder, and back from a run directory."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from pickle import UnpicklingError

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from hemogat.errors import BundleError, ConfigError

_UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError)


def load_pretrained(
    name: str, setting: str, model_types: Collection[str], may_lack: tuple[str, ...] = ()
) -> PreTrainedModel:
    """Load the model ``name``, a folder or a name on the hub, in float32 with eager attention.

    No code of the model's own is run. Weights are read from safetensors where they are there, else,
    of older models, from pickles by torch's reader of weights alone, which runs nothing either.
    Eager attention exports to plain operators and is what FLOP counters see. ``may_lack`` are the
    beginnings of names of weights that the caller does not use.

    Raises:
        ConfigError: it cannot be read, is of none of ``model_types``, or lacks a weight, which
            transformers would replace by random numbers; ``setting`` says where it was named.
    """
    quiet_transformers()
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if config.model_type not in model_types:
            raise ConfigError(
                f"{setting}.pretrained: {name!r} is a model of type {config.model_type!r}, but "
                f"this encoder can be one of {', '.join(model_types)}"
            )
        model, found = AutoModel.from_pretrained(
            name,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
            trust_remote_code=False,  # unset, transformers asks on a terminal
            weights_only=True,
        )
    except _UNREADABLE as error:
        raise ConfigError(
            f"{setting}.pretrained: {name!r} is neither a local folder nor a model that can be "
            f"fetched ({_first_line(error)})"
        ) from error
    for missing in sorted(found["missing_keys"]):
        if not missing.startswith(may_lack):
            raise ConfigError(f"{setting}.pretrained: {name!r} lacks the weight {missing}")
    encoder: PreTrainedModel = model
    return encoder


def save_tokenizer(name: str, setting: str, path: Path) -> int:
    """Write the tokenizer of the model ``name`` as a ``tokenizers`` file; return its size.

    The file names the padding token, which else only transformers' own files tell: BERT's is
    ``[PAD]``, RoBERTa's ``<pad>``.

    Raises:
        ConfigError: there is none, or none that the ``tokenizers`` package runs; ``setting`` says
            where it was named.
    """
    quiet_transformers()
    try:
        found = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except _UNREADABLE as error:
        raise ConfigError(
            f"{setting}.pretrained: the tokenizer of {name!r} cannot be read "
            f"({_first_line(error)}); save it beside the model"
        ) from error
    if not found.is_fast:
        raise ConfigError(
            f"{setting}.pretrained: the tokenizer of {name!r} is a {type(found).__name__}, for "
            f"which the tokenizers package has no fast form"
        )
    size = int(found.backend_tokenizer.get_vocab_size())
    if size <= len(found.all_special_tokens):  # what transformers makes up where no file lies
        raise ConfigError(
            f"{setting}.pretrained: the tokenizer of {name!r} knows no words; save the one that "
            f"the model was trained with beside it"
        )
    if found.pad_token_id is not None:
        found.backend_tokenizer.enable_padding(
            pad_id=found.pad_token_id, pad_token=str(found.pad_token)
        )
    found.backend_tokenizer.save(str(path))
    return size


def load_saved(folder: Path) -> PreTrainedModel:
    """Load what :meth:`PreTrainedModel.save_pretrained` wrote into ``folder``.

    Raises:
        BundleError: it is not there, damaged, or lacks a weight.
    """
    quiet_transformers()
    try:
        model, found = AutoModel.from_pretrained(
            str(folder.absolute()),  # a relative path could be the name of a model on the hub
            attn_implementation="eager",
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,  # which is what was written
        )
    except _UNREADABLE as error:
        reason = _first_line(error)
        raise BundleError(f"{folder}: cannot be read ({reason}); train again") from error
    if found["missing_keys"]:  # transformers fills them with random numbers
        name = sorted(found["missing_keys"])[0]
        raise BundleError(f"{folder}: lacks the weight {name}; train again")
    encoder: PreTrainedModel = model
    return encoder


def quiet_transformers() -> None:
    """Keep transformers' progress bars and load reports from tearing ours."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
