"""The Triton model repository of a bundle: generated, never edited."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from hemogat import contract
from hemogat.files import folder_written_whole
from hemogat.optional import require
from hemogat.runtime.bundle import Bundle, GraphName, write_sums
from hemogat.serving.model_configs import LABELS_FILE, model_configs, served_engine
from hemogat.serving.repository_readme import repository_readme
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

    The repository refers to the bundle by its absolute path (or ``settings.bundle_path``). With
    the Python backend it holds none of it, with another one copies of the graphs. Its
    ``SHA256SUMS`` covers every file in it. It is complete or not there at all: it is written beside
    ``out`` and renamed.

    Args:
        bundle: the bundle to serve; its hashes are checked.
        out: folder to write; must not exist, be empty, or be a model repository of hemogat.
        settings: default: ``RepositorySettings()``.

    Returns:
        ``out``.

    Raises:
        BundleError: the bundle cannot be used, or has no such engine and precision.
        ConfigError: the engine does not run on the device, or not without the bank inside.
        InputError: ``out`` holds something else.
        IncompleteError: tritonclient is not installed.
    """
    settings = settings or RepositorySettings()
    opened = Bundle.open(bundle)
    configs = model_configs(opened, settings)
    graphs = {contract.triton_model_name(name): name for name in get_args(GraphName)}
    engine, precision = served_engine(opened, settings)
    with folder_written_whole(out, replace_if_has=_SIGN) as folder:
        for config in configs:
            version = _write_config(folder / config.name, config)
            if config.backend == "python":
                _copy_source(config.name, version)
            else:
                graph = opened.graph_path(graphs[config.name], engine, precision)
                _copy_graph(graph, version / config.default_model_filename)
        labels = "".join(f"{label}\n" for label in opened.manifest.labels)
        for model in _SOURCES.keys() & {config.name for config in configs}:
            (folder / model / LABELS_FILE).write_text(labels, encoding="utf-8")
        readme = repository_readme(opened, settings, out)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        write_sums(folder)
    return out


def _write_config(folder: Path, config: Any) -> Path:
    """Write a model's configuration; return the folder of its only version."""
    text_format = require("google.protobuf.text_format", extra="serve")
    version = folder / _MODEL_VERSION
    version.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(text_format.MessageToString(config), encoding="utf-8")
    return version


def _copy_source(model: str, version: Path) -> None:
    source = _SOURCES.get(model, "engine.py")
    packaged = resources.files("hemogat.serving") / "triton_models" / source
    with resources.as_file(packaged) as path:
        shutil.copyfile(path, version / "model.py")


def _copy_graph(graph: Path, target: Path) -> None:
    """Copy a graph with the files that belong to it, as Triton's backends want them."""
    if graph.suffix != ".onnx":  # an OpenVINO model's weights, or a plan
        shutil.copytree(graph.parent, target.parent, dirs_exist_ok=True)
        return
    # With external data, the ONNX file stands in a folder of its own name.
    shutil.copytree(graph.parent, target)
