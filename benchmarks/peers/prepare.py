"""Make what the peers are measured on: one set of random base weights, exported both ways.

Peers get an environment of their own, which sees the packages of the one that runs this (torch,
onnxruntime, numpy) where it has none of its own. Run it with the project's Python:

    python benchmarks/peers/prepare.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from hemogat.benchmarks.base_models import OPSET, build_base_models, write_encoder
from hemogat.benchmarks.engine_candidates import write_engines
from hemogat.benchmarks.targets import HeadShape
from hemogat.config import GraphConfig
from hemogat.export.onnx_graphs import export_fusion
from hemogat.files import write_atomic
from hemogat.runtime.bundle import GraphName

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEFAULT_WORK = ROOT / "build" / "peers"
ENGINES_FILE = "engines.json"  # of every engine and precision: graph to path
_CALIBRATION_SAMPLES = 8  # of noise: enough for scales, which speed does not depend on


def main() -> None:
    """Install, build, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="folder to fill (4 GB)")
    work = parser.parse_args().work.absolute()
    (work / ENGINES_FILE).unlink(missing_ok=True)
    install(work / "venv")
    engines = export_ours(work)
    python = work / "venv" / "bin" / "python"
    subprocess.run([python, HERE / "optimum_export.py", work / "models"], check=True)
    # Last: with this file, everything is there.
    write_atomic(work / ENGINES_FILE, json.dumps(engines, indent=1) + "\n")


def install(folder: Path) -> None:
    """Make the peers' environment."""
    venv.create(folder, with_pip=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    ours = f"{sysconfig.get_path('purelib')}\n{ROOT}\n"
    (packages / "project.pth").write_text(ours, encoding="utf-8")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)


def export_ours(work: Path) -> dict[str, dict[str, str]]:
    """Save the encoders as transformers does, and all graphs as hemogat exports them.

    Returns:
        the graphs' files by engine and graph, from ``work`` on.
    """
    models = build_base_models(HeadShape().bank_rows)
    models.audio_encoder.backbone.save_pretrained(work / "models" / "audio")
    models.text_encoder.backbone.save_pretrained(work / "models" / "text")
    inside: dict[str, dict[str, str]] = {}
    place = work / "onnx-fp32"
    fp32: dict[GraphName, Path] = {
        "audio_encoder": write_encoder(models.audio_encoder, place / "audio_encoder"),
        "text_encoder": write_encoder(models.text_encoder, place / "text_encoder"),
        "fusion": export_fusion(
            models.head.head, models.bank, GraphConfig(), place / "fusion", OPSET
        ),
    }
    for graph, onnx in fp32.items():
        engines = write_engines(graph, onnx, work, _CALIBRATION_SAMPLES)
        for name, path in ({"onnx-fp32": onnx} | engines).items():
            inside.setdefault(name, {})[graph] = str(path.relative_to(work))
    return inside


if __name__ == "__main__":
    sys.exit(main())
