"""What export leaves where TensorRT cannot run: a script that builds the plans elsewhere.

It calls trtexec inside NVIDIA's container, with the profiles and options of
:mod:`hemogat.export.tensorrt_engine`, and writes the same records.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from hemogat.contract import Precision
from hemogat.errors import IncompleteError
from hemogat.export import tensorrt_layers
from hemogat.export.onnx_files import MODEL_FILE
from hemogat.export.tensorrt_engine import LAYERS_FILE, known_facts, optimization_profile
from hemogat.export.tensorrt_operators import check_operators
from hemogat.export_config import TensorRTConfig
from hemogat.runtime.bundle import MANIFEST_FILE, SUMS_FILE
from hemogat.runtime.parity_report import ParityReport
from hemogat.runtime.tensorrt_plan import PLAN_FILE, ShapeRange, record_path

SCRIPT_FILE = "build_engines.sh"
COUNTER_FILE = "tensorrt_layers.py"
_COMPATIBILITY = {
    "none": "none",
    "same_compute_capability": "sameComputeCapability",
    "ampere_plus": "ampere+",
}
_TEMPLATE = """\
#!/usr/bin/env bash
# Builds this bundle's TensorRT plans with trtexec in NVIDIA's container; needs docker, the NVIDIA
# container toolkit and the GPU that will run them. Written by: hemogat export --engine trt
#
#   bash {script} IMAGE_TAG          a tag of nvcr.io/nvidia/tensorrt, such as 26.05-py3
#   GPU=1 bash {script} IMAGE_TAG    on the second GPU
set -euo pipefail

here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"

if [[ -z "${{HEMOGAT_IN_CONTAINER:-}}" ]]; then
  tag="${{1:?expected a tag of nvcr.io/nvidia/tensorrt, such as 26.05-py3}}"
  cache="${{XDG_CACHE_HOME:-$HOME/.cache}}/hemogat"
  mkdir -p "$cache"
  exec docker run --rm --gpus "device=${{GPU:-0}}" --user "$(id -u):$(id -g)" \\
    --volume "$here:/bundle" --volume "$cache:/cache" --env HEMOGAT_IN_CONTAINER=1 \\
    "nvcr.io/nvidia/tensorrt:$tag" bash /bundle/{script}
fi

cd "$here"

# FOLDER SMALLEST TYPICAL LARGEST FACTS TYPES...: the shapes of the inputs, what the record says,
# the types that the plan's layers must have.
build() {{
  local folder="$1" smallest="$2" typical="$3" largest="$4" facts="$5"
  shift 5
  trtexec --onnx="$folder/{onnx}" --saveEngine="$folder/{plan}" \\
    --minShapes="$smallest" --optShapes="$typical" --maxShapes="$largest" \\
    {options} \\
    --timingCacheFile=/cache/tensorrt.cache \\
    --profilingVerbosity=detailed --exportLayerInfo="$folder/{layers}" --skipInference
  python3 {counter} "$folder/{layers}" "$folder/{record}" "$facts" "$@"
  python3 {counter} --list {manifest} "$folder/{plan}"
  local name
  for name in "$folder/{plan}" "$folder/{record}" "$folder/{layers}" {manifest}; do
    if [[ -f {sums} ]]; then
      sed -i "\\\\|  $name\\$|d" {sums}
      sha256sum "$name" >> {sums}
      LC_ALL=C sort -k 2 -o {sums} {sums}
    fi
  done
}}

{calls}
"""


def write_build_script(
    bundle: Path,
    graphs: Mapping[Precision, Sequence[Path]],
    config: TensorRTConfig,
    token_buckets: Sequence[int],
) -> Path:
    """Check the typed ONNX ``graphs`` inside ``bundle`` and write the script that builds their
    plans beside them; return the script's path.

    The script also lists each plan in ``bundle.json``, so that it can be loaded.

    Raises:
        HemogatError: TensorRT would refuse a graph; the message names the node.
        ConfigError: the recipe's tokens do not hold the model's.
    """
    calls = [
        _call(bundle, path, precision, config, token_buckets)
        for precision, paths in graphs.items()
        for path in paths
    ]
    plan = Path(PLAN_FILE)
    script = _TEMPLATE.format(
        script=SCRIPT_FILE,
        onnx=MODEL_FILE,
        plan=plan,
        record=record_path(plan),
        layers=LAYERS_FILE,
        counter=COUNTER_FILE,
        sums=SUMS_FILE,
        manifest=MANIFEST_FILE,
        options=" \\\n    ".join(_options(config)),
        calls="\n".join(calls),
    )
    source = Path(tensorrt_layers.__file__).read_text(encoding="utf-8")
    (bundle / COUNTER_FILE).write_text(source, encoding="utf-8")
    path = bundle / SCRIPT_FILE
    path.write_text(script, encoding="utf-8")
    return path


class NoPlanError(IncompleteError):
    """Tells what was written instead of plans, and what is missing to build them.

    ``parity``: what was found of the graphs that plans are built from.
    """

    def __init__(self, script: Path, missing: Sequence[str], parity: ParityReport) -> None:
        super().__init__(
            f"no TensorRT plan was built; missing here: {'; '.join(missing)}. The typed ONNX "
            f"graphs are checked, compared and written; on the GPU machine run: "
            f"bash {script} IMAGE_TAG"
        )
        self.parity = parity


def _options(config: TensorRTConfig) -> list[str]:
    """Return trtexec's words for the settings that the engine builder gets from Python.

    Names from trtexec's help of TensorRT 10; NVIDIA's migration guide to 11 removes none of them
    (--stronglyTyped is accepted there without effect).
    """
    options = [
        "--stronglyTyped",
        f"--builderOptimizationLevel={config.optimization_level}",
        f"--memPoolSize=workspace:{config.workspace_mib}M",
        f"--hardwareCompatibilityLevel={_COMPATIBILITY[config.hardware_compatibility]}",
    ]
    return options if config.tf32 else [*options, "--noTF32"]


def _call(
    bundle: Path,
    path: Path,
    precision: Precision,
    config: TensorRTConfig,
    token_buckets: Sequence[int],
) -> str:
    types = sorted(check_operators(path))
    profile = optimization_profile(path, config, token_buckets)
    facts = json.dumps(known_facts(path, precision, profile, config))
    folder = path.parent.relative_to(bundle).as_posix()
    shapes = [_shapes(profile, size) for size in ("smallest", "typical", "largest")]
    return shlex.join(["build", folder, *shapes, facts, *types])


def _shapes(profile: dict[str, ShapeRange], size: str) -> str:
    """Return trtexec's words for the shapes of all inputs: ``input_ids:1x16,...``."""
    return ",".join(
        f"{name}:{'x'.join(map(str, getattr(shapes, size)))}" for name, shapes in profile.items()
    )
