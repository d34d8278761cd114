"""The Triton model repository of a bundle: generated, never edited."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from hemogat import contract
from hemogat.files import folder_written_whole
from hemogat.optional import require
from hemogat.runtime.bundle import Bundle
from hemogat.serving.model_configs import LABELS_FILE, model_configs
from hemogat.serving.settings import RepositorySettings

CONFIG_FILE = "config.pbtxt"
_SIGN = f"{contract.ENTRY_MODEL}/{CONFIG_FILE}"
_MODEL_VERSION = "1"
_SOURCES = {contract.ENTRY_MODEL: "entry.py", contract.STREAM_MODEL: "stream.py"}


def is_repository(path: Path) -> bool:
    """Say whether ``path`` is a folder that :func:`write_repository` wrote."""
    return (path / _SIGN).is_file()


def write_repository(bundle: Path, out: Path, settings: RepositorySettings | None = None) -> Path:
    """Write the Triton model repository that serves ``bundle``, replacing an earlier one.

    The repository refers to the bundle by its absolute path and holds none of it. It is complete
    or not there at all: it is written beside ``out`` and renamed.

    Args:
        bundle: the bundle to serve; its hashes are checked.
        out: folder to write; must not exist, be empty, or be a model repository of hemogat.
        settings: default: ``RepositorySettings()``.

    Returns:
        ``out``.

    Raises:
        BundleError: the bundle cannot be used.
        InputError: ``out`` holds something else.
        IncompleteError: tritonclient is not installed.
    """
    settings = settings or RepositorySettings()
    opened = Bundle.open(bundle)
    configs = model_configs(opened, settings)
    with folder_written_whole(out, replace_if_has=_SIGN) as folder:
        for config in configs:
            _write_model(folder / config.name, config)
        labels = "".join(f"{label}\n" for label in opened.manifest.labels)
        for model in _SOURCES.keys() & {config.name for config in configs}:
            (folder / model / LABELS_FILE).write_text(labels, encoding="utf-8")
    return out


def _write_model(folder: Path, config: Any) -> None:
    text_format = require("google.protobuf.text_format", extra="serve")
    version = folder / _MODEL_VERSION
    version.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(text_format.MessageToString(config), encoding="utf-8")
    source = _SOURCES.get(config.name, "engine.py")
    packaged = resources.files("hemogat.serving") / "triton_models" / source
    with resources.as_file(packaged) as path:
        shutil.copyfile(path, version / "model.py")
