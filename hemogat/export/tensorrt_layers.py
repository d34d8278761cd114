"""Count the types that a TensorRT plan's layers have, write its record, list it in its bundle.

Standard library only: ``build_engines.sh`` runs a copy of this file inside NVIDIA's container.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

# TensorRT 10 writes "Format/Datatype": "Half" (or "Row major linear FP16 format"), TensorRT 11
# "Datatype": "Half" and the format apart.
_TYPE_KEYS = ("format/datatype", "datatype")
_TYPES = {
    "bf16": re.compile(r"bf16|bfloat16", re.IGNORECASE),
    "fp16": re.compile(r"\b(half|fp16|float16)\b", re.IGNORECASE),
    "fp32": re.compile(r"\b(float|fp32|float32)\b", re.IGNORECASE),
    "int8": re.compile(r"\bint8\b", re.IGNORECASE),
}
# They move or convert data and would show a type that nothing computes in.
_NOT_COMPUTING = frozenset({"reformat", "cast", "noop", "constant"})


def layer_types(information: str) -> dict[str, int]:
    """Return how many computing layers read or write each of fp32, fp16, bf16 and int8.

    ``information`` is the JSON that TensorRT's engine inspector gives for a whole engine that was
    built with detailed profiling verbosity.

    Raises:
        ValueError: it tells names of layers only.
    """
    layers = json.loads(information)["Layers"]
    if any(isinstance(layer, str) for layer in layers):
        raise ValueError("expected detailed layers, found names only")
    counts = dict.fromkeys(_TYPES, 0)
    for layer in layers:
        if layer.get("LayerType", "").lower() in _NOT_COMPUTING:
            continue
        described = [
            str(value)
            for tensor in (*layer.get("Inputs", ()), *layer.get("Outputs", ()))
            for key, value in tensor.items()
            if key.lower() in _TYPE_KEYS
        ]
        for name, pattern in _TYPES.items():
            counts[name] += any(pattern.search(text) for text in described)
    return counts


def missing_types(counts: dict[str, int], expected: list[str]) -> list[str]:
    """Return those of ``expected`` that no layer has."""
    return [name for name in sorted(expected) if not counts[name]]


def list_plan(manifest: Path, plan: str) -> None:
    """List ``GRAPH/trt-PRECISION/model.plan`` among the models of ``bundle.json``, once."""
    graph, target, _ = plan.split("/")
    engine, precision = target.split("-")
    entry = {"graph": graph, "engine": engine, "precision": precision, "path": plan}
    bundle = json.loads(manifest.read_text(encoding="utf-8"))
    if entry in bundle["models"]:
        return
    bundle["models"].append(entry)
    written = manifest.with_suffix(".new")
    text = json.dumps(bundle, indent=1, ensure_ascii=False) + "\n"
    written.write_text(text, encoding="utf-8")
    written.replace(manifest)


def main(arguments: list[str]) -> int:
    """Write a plan's record, or list it.

    Arguments: ``LAYERS_JSON RECORD_JSON FACTS_JSON EXPECTED_TYPES...``, or
    ``--list BUNDLE_JSON PLAN``.
    """
    if arguments[0] == "--list":
        list_plan(Path(arguments[1]), arguments[2])
        return 0
    import tensorrt

    layers, record, facts, *expected = arguments
    counts = layer_types(Path(layers).read_text(encoding="utf-8"))
    missing = missing_types(counts, expected)
    if missing:
        print(f"error: {layers}: no layer has {', '.join(missing)}: {counts}", file=sys.stderr)
        return 1
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader", "--id=0"]
    answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    gpu, capability = (part.strip() for part in answer.strip().rsplit(",", 1))
    found = {"tensorrt": tensorrt.__version__, "gpu": gpu, "compute_capability": capability}
    whole = {**json.loads(facts), **found, "layers": counts}
    Path(record).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(f"{record}: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
