"""What is installed, what can run here, and what would add the rest: ``hemogat doctor``.

Versions come from metadata; an engine is imported only to see whether it loads.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires

from hemogat import __version__
from hemogat.config import Settings
from hemogat.errors import BundleError, IncompleteError
from hemogat.machine import Gpu, Machine, this_machine
from hemogat.optional import pip_line
from hemogat.versions import installed_version
from hemogat.workspace import Marker, find_latest

CORE = "core"  # what hemogat needs without any extra
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[(?P<extras>[^\]]*)\])?(?P<versions>[^;]*)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([\w.-]+)['\"]")
_USED_ENGINES = frozenset({"ONNX Runtime, CPU"})  # of those looked for
# Both install the module onnxruntime, over each other.
_EXCLUDES = {"onnxruntime": "onnxruntime-gpu", "onnxruntime-gpu": "onnxruntime"}


class Package(Settings):
    """One required package; ``version`` is None when it is missing."""

    name: str
    required: str
    version: str | None


class Extra(Settings):
    """One extra: its own packages, the extras that it includes, and the line that adds it.

    ``complete``: all of its packages and of the included extras' are installed.
    """

    name: str
    packages: tuple[Package, ...]
    includes: tuple[str, ...]
    complete: bool
    add_with: str


class Engine(Settings):
    """Whether bundles can be run with one engine here; ``detail``: its version, or why not."""

    name: str
    can_run: bool
    detail: str


class Tritonserver(Settings):
    """The tritonserver that ``hemogat serve`` would start; ``detail``: whose it is, or why none."""

    path: str | None
    detail: str


class Diagnosis(Settings):
    """Everything that ``hemogat doctor`` reports; paths as strings, None where there is none."""

    hemogat: str
    executable: str
    machine: Machine
    extras: tuple[Extra, ...]
    engines: tuple[Engine, ...]
    tritonserver: Tritonserver
    warnings: tuple[str, ...]
    latest_run: str | None
    latest_bundle: str | None


def diagnose() -> Diagnosis:
    """Examine this installation and machine."""
    machine = this_machine()
    return Diagnosis(
        hemogat=__version__,
        executable=sys.executable,
        machine=machine,
        extras=find_extras(),
        engines=_engines(machine.gpus),
        tritonserver=_tritonserver(),
        warnings=_warnings(),
        latest_run=_latest("run.json"),
        latest_bundle=_latest("bundle.json"),
    )


def find_extras() -> tuple[Extra, ...]:
    """Return the core requirements and every extra, as the installed metadata declares them."""
    packages: dict[str, list[Package]] = defaultdict(list)
    includes: dict[str, list[str]] = defaultdict(list)
    for requirement in _requirements():
        found = _REQUIREMENT.match(requirement)
        assert found is not None  # as every valid requirement does
        marker = _EXTRA.search(requirement)
        extra = marker[1] if marker else CORE
        if found["name"] == "hemogat":
            includes[extra] += found["extras"].split(",")
        else:
            version = installed_version(found["name"])
            required = found["versions"].strip()
            packages[extra].append(Package(name=found["name"], required=required, version=version))

    def all_packages(extra: str) -> list[Package]:
        return packages[extra] + [p for name in includes[extra] for p in all_packages(name)]

    return tuple(
        Extra(
            name=name,
            packages=tuple(packages[name]),
            includes=tuple(includes[name]),
            complete=all(package.version for package in all_packages(name)),
            add_with=_add_with(name, [p.name for p in all_packages(name) if not p.version]),
        )
        for name in dict.fromkeys((*packages, *includes))
    )


def _requirements() -> list[str]:
    try:
        return requires("hemogat") or []
    except PackageNotFoundError:  # run from a source tree that was never installed
        return []


def _add_with(extra: str, missing: Iterable[str]) -> str:
    line = pip_line(None if extra == CORE else extra)
    excluded = (_EXCLUDES[name] for name in missing if name in _EXCLUDES)
    in_the_way = [name for name in excluded if installed_version(name)]
    return f"pip uninstall -y {' '.join(in_the_way)} && {line}" if in_the_way else line


def _engines(gpus: tuple[Gpu, ...]) -> tuple[Engine, ...]:
    no_gpu = None if gpus else "nvidia-smi finds no GPU"
    return (
        _engine("ONNX Runtime, CPU", "onnxruntime", "cpu"),
        _engine("ONNX Runtime, CUDA", "onnxruntime", "gpu", no_gpu or _no_cuda_provider()),
        _engine("OpenVINO", "openvino", "openvino"),
        _engine("TensorRT", "tensorrt", "trt", no_gpu),
    )


def _engine(name: str, module: str, extra: str, obstacle: str | None = None) -> Engine:
    """Import what runs the engine, unless an obstacle is known already."""
    if obstacle:
        return Engine(name=name, can_run=False, detail=obstacle)
    try:
        version = str(importlib.import_module(module).__version__)
    except ModuleNotFoundError as error:
        return Engine(name=name, can_run=False, detail=f"{error}; {pip_line(extra)}")
    except Exception as error:  # whatever a broken installation raises is what to report
        reason = " ".join(str(error).split())
        return Engine(name=name, can_run=False, detail=f"{module} does not load: {reason}")
    if name not in _USED_ENGINES:
        detail = f"{module} {version} is installed, but this version of hemogat does not use it"
        return Engine(name=name, can_run=False, detail=detail)
    return Engine(name=name, can_run=True, detail=f"{module} {version}")


def _no_cuda_provider() -> str | None:
    """Say that the installed onnxruntime has no CUDA provider; None where it has, or is none."""
    try:
        providers = importlib.import_module("onnxruntime").get_available_providers()
    except Exception:  # why it does not load is said where it is loaded
        return None
    if "CUDAExecutionProvider" in providers:
        return None
    return f"this onnxruntime has no CUDA provider; {_add_with('gpu', ['onnxruntime-gpu'])}"


def _tritonserver() -> Tritonserver:
    try:
        from hemogat.serving.locate import find_tritonserver

        path = find_tritonserver().executable
    except IncompleteError as error:
        return Tritonserver(path=None, detail=str(error))
    except ImportError as error:
        return Tritonserver(path=None, detail=f"not looked for: {error}")
    bundled = "pytriton" in path.parts
    version = installed_version("nvidia-pytriton")
    return Tritonserver(
        path=str(path), detail=f"of nvidia-pytriton {version}" if bundled else "on PATH"
    )


def _warnings() -> tuple[str, ...]:
    warnings = []
    numpy = installed_version("numpy")
    if installed_version("nvidia-pytriton") and numpy and int(numpy.partition(".")[0]) >= 2:
        warnings.append(
            f"numpy {numpy} with nvidia-pytriton: its tritonserver misreads BYTES tensors unless "
            f"numpy is below 2; install it with: pip install 'numpy<2'"
        )
    if installed_version("onnxruntime") and installed_version("onnxruntime-gpu"):
        warnings.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; "
            "uninstall both, then install the one you need"
        )
    if not installed_version("hemogat"):
        warnings.append("hemogat runs from a source tree: the extras are unknown; pip install -e .")
    return tuple(warnings)


def _latest(marker: Marker) -> str | None:
    try:
        return str(find_latest(marker))
    except BundleError:
        return None
