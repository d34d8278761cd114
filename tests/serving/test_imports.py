from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import hemogat.serving

# Triton's Python backend alone can import it.
INSIDE_TRITON = tuple(
    f"hemogat.serving.triton_{name}" for name in ("host", "engine_host", "requests", "responses")
)
HEAVY = ("torch", "transformers", "torch_geometric", "onnxruntime", "tritonclient")


def test_serving_modules_load_nothing_heavy() -> None:
    found = pkgutil.iter_modules(hemogat.serving.__path__, "hemogat.serving.")
    modules = [module.name for module in found if module.name not in INSIDE_TRITON]
    assert len(modules) > 8
    script = (
        f"import importlib, json, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
