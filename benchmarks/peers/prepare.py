"""Make what the peers are measured on: one set of random base weights, exported both ways.

Peers get an environment of their own, which sees the packages of the one that runs this (torch,
onnxruntime, numpy) where it has none of its own. Run it with the project's Python:

    python benchmarks/peers/prepare.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import torch

from hemogat.benchmarks.base_models import OPSET, build_head_of
from hemogat.benchmarks.cost import base_encoders
from hemogat.benchmarks.targets import HeadShape
from hemogat.export.onnx_graphs import export_audio_encoder, export_fusion, export_text_encoder
from hemogat.export.openvino_ir import convert

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DEFAULT_WORK = ROOT / "build" / "peers"


def main() -> None:
    """Install, build, export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="folder to fill (4 GB)")
    work = parser.parse_args().work.absolute()
    install(work / "venv")
    export_ours(work)
    python = work / "venv" / "bin" / "python"
    subprocess.run([python, HERE / "optimum_export.py", work / "models"], check=True)


def install(folder: Path) -> None:
    """Make the peers' environment."""
    venv.create(folder, with_pip=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    ours = f"{sysconfig.get_path('purelib')}\n{ROOT}\n"
    (packages / "project.pth").write_text(ours, encoding="utf-8")
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)


def export_ours(work: Path) -> None:
    """Save the encoders as transformers does, and all graphs as hemogat exports them."""
    torch.manual_seed(0)
    audio, text = base_encoders()
    audio.backbone.save_pretrained(work / "models" / "audio")
    text.backbone.save_pretrained(work / "models" / "text")
    shape = HeadShape()
    head, bank = build_head_of(shape)
    onnx = work / "onnx-fp32"
    paths = [
        export_audio_encoder(audio, onnx / "audio_encoder", OPSET),
        export_text_encoder(text, onnx / "text_encoder", OPSET),
        export_fusion(head, bank, shape.graph, onnx / "fusion", OPSET),
    ]
    for path in paths:
        convert(path, work / "openvino-fp32" / path.parent.name, "fp32")


if __name__ == "__main__":
    sys.exit(main())
