"""Imports flow one way, and what serves never loads what trains (docs/architecture.md)."""

from __future__ import annotations

import ast
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import hemogat
import hemogat.data
import hemogat.runtime
import hemogat.serving

ROOT = Path(hemogat.__file__).parent
HEAVY = {"torch", "torchaudio", "transformers", "torch_geometric", "safetensors", "sklearn", "onnx"}
# These import what only Triton's Python backend has.
INSIDE_TRITON = tuple(
    f"hemogat.serving.triton_{name}" for name in ("host", "engine_host", "requests", "responses")
)

BASE = {
    "config",
    "contract",
    "errors",
    "export_config",
    "files",
    "logs",
    "machine",
    "optional",
    "progress",
    "recipe_files",
    "versions",
    "workspace",
}
STAGES = {
    "data": BASE,
    "model": BASE | {"data"},
    "training": BASE | {"data", "model"},
    "runtime": BASE | {"data"},
    "serving": BASE | {"data", "runtime"},
    "export": BASE | {"data", "model", "training", "runtime"},
    "benchmarks": BASE | {"data", "model", "training", "runtime", "serving", "export"},
    "doctor": BASE | {"data", "runtime", "serving"},
    "demo": BASE
    | {"data", "model", "training", "runtime", "serving", "export", "benchmarks", "doctor"},
}
ALLOWED = (
    dict.fromkeys(BASE, BASE)
    | STAGES
    | {"cli": {*BASE, *STAGES}, "__init__": {"runtime", "serving"}, "__main__": {"cli"}}
)
# Torch-free, however late the import.
SERVING_ARM = BASE | {"data", "runtime", "serving", "__init__"}


def sources() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def stage_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, at its top or later, also by optional.require."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "hemogat":
                found |= {f"hemogat.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name | ast.Attribute)
            and (node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
            in ("require", "import_module")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.add(str(node.args[0].value))
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stage_imports_only_what_stands_before_it(path: Path) -> None:
    stage = stage_of(path)
    assert stage in ALLOWED, f"{stage}: say here what it may import"
    stages = {name.split(".")[1] for name in imported(path) if name.startswith("hemogat.")}
    assert stages - set(hemogat.__all__) <= ALLOWED[stage] | {stage}


@pytest.mark.parametrize(
    "path",
    [path for path in sources() if stage_of(path) in SERVING_ARM],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_serving_arm_imports_nothing_of_training(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & HEAVY


def in_fresh_interpreter(script: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_module_of_the_serving_arm_loads_torch() -> None:
    modules = [
        module.name
        for package in (hemogat.data, hemogat.runtime, hemogat.serving)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
        if module.name not in INSIDE_TRITON
    ]
    modules += [f"hemogat.{name}" for name in sorted(BASE)]
    assert len(modules) > 25
    loaded = in_fresh_interpreter(
        "import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(json.dumps(sorted(set(sys.modules) & {HEAVY!r})))"
    )
    assert loaded == []


def test_a_process_that_times_a_head_alone_imports_no_encoders() -> None:
    loaded = in_fresh_interpreter(
        "import json, sys, hemogat.benchmarks.head_runner\n"
        "print(json.dumps(sorted({'torch', 'transformers', 'torch_geometric'} & set(sys.modules))))"
    )
    assert loaded == ["torch"]


def test_import_hemogat_loads_nothing_but_itself() -> None:
    loaded = in_fresh_interpreter(
        "import sys\n"
        "before = set(sys.modules)\n"
        "import hemogat, json\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(json.dumps(sorted(new - sys.stdlib_module_names)))"
    )
    assert loaded == ["hemogat"]


def test_a_bundle_answers_where_torch_is_not_installed(tiny_bundle: Path, tiny_clips: Path) -> None:
    clip = tiny_clips / "angry-10.wav"
    answer = in_fresh_interpreter(
        "import json, sys\n"
        f"for name in {sorted(HEAVY)!r}: sys.modules[name] = None\n"  # then importing them fails
        "import hemogat\n"
        f"pipeline = hemogat.Pipeline.load({str(tiny_bundle)!r})\n"
        f"print(json.dumps(pipeline({str(clip)!r}, 'stop that right now').to_dict()))"
    )
    assert isinstance(answer, dict)
    assert answer["modalities"] == ["audio", "text"]
    assert len(answer["neighbours"]) > 2


def test_the_package_offers_the_pipeline_and_its_answer() -> None:
    assert hemogat.Pipeline.__module__ == "hemogat.runtime.pipeline"
    assert hemogat.Prediction.__module__ == "hemogat.runtime.prediction"
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = hemogat.nonsense
