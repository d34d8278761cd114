"""The Triton model repository of a bundle: generated, never edited."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from hemogat import contract
from hemogat.errors import ServerError
from hemogat.optional import require
from hemogat.runtime.bundle import Bundle
from hemogat.serving.model_configs import LABELS_FILE, model_configs
from hemogat.serving.settings import RepositorySettings

CONFIG_FILE = "config.pbtxt"
_MODEL_VERSION = "1"


def is_repository(path: Path) -> bool:
    """Say whether ``path`` is a folder that :func:`write_repository` wrote."""
    return (path / contract.ENTRY_MODEL / CONFIG_FILE).is_file()


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
        ServerError: ``out`` holds something else, or cannot be written.
        IncompleteError: tritonclient is not installed.
    """
    settings = settings or RepositorySettings()
    opened = Bundle.open(bundle)
    configs = model_configs(opened, settings)
    _check_replaceable(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
            new = Path(scratch) / "new"
            for config in configs:
                _write_model(new / config.name, config)
            _write_labels(new / contract.ENTRY_MODEL, opened.manifest.labels)
            if out.exists():
                os.replace(out, Path(scratch) / "old")
            os.replace(new, out)
    except OSError as error:
        raise ServerError(
            f"{out}: the model repository cannot be written ({error.strerror})"
        ) from error
    return out


def _check_replaceable(out: Path) -> None:
    if not out.exists() or is_repository(out) or (out.is_dir() and not any(out.iterdir())):
        return
    raise ServerError(
        f"{out}: is not a model repository of hemogat, so it is not replaced; name another folder"
    )


def _write_model(folder: Path, config: Any) -> None:
    text_format = require("google.protobuf.text_format", extra="serve")
    version = folder / _MODEL_VERSION
    version.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(text_format.MessageToString(config), encoding="utf-8")
    source = "entry.py" if config.name == contract.ENTRY_MODEL else "engine.py"
    packaged = resources.files("hemogat.serving") / "triton_models" / source
    with resources.as_file(packaged) as path:
        shutil.copyfile(path, version / "model.py")


def _write_labels(folder: Path, labels: tuple[str, ...]) -> None:
    (folder / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
