"""What README says is run, and its figures are those of the committed result."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import hemogat
from hemogat.cli.main import app
from hemogat.config import Recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
(RESULT,) = ROOT.glob("benchmarks/results/demo-*.json")
RUN = "from hemogat.cli.main import run; run()"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("hemogat ")]


@pytest.fixture(scope="module")
def places(
    tiny_recipe: Recipe,
    tiny_manifest: Path,
    tiny_clips: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Return what stands in the tests for what README's commands name."""
    folder = tmp_path_factory.mktemp("readme")
    recipe = folder / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_recipe.model_dump(mode="json")))
    return {
        "demo": str(recipe),
        "build/demo/corpus/manifest.csv": str(tiny_manifest),
        "build/mine/run": str(folder / "run"),
        "build/mine/bundle": str(folder / "bundle"),
        "clip.wav": str(tiny_clips / "angry-00.wav"),
    }


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(
    places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for arguments in commands():
        name, *rest = [places.get(argument, argument) for argument in arguments]
        seen.add(name)
        if name == "serve":
            _serve(rest)
            continue
        result = CliRunner().invoke(app, [name, *rest])
        assert result.exit_code == 0, f"{arguments}: {result.output}"
    assert {"train", "evaluate", "export", "inspect", "predict", "bench", "serve"} <= seen
    _run_python(places, monkeypatch)


def _serve(arguments: list[str]) -> None:
    """Serve until ready, on free ports, and stop as a user does."""
    free = [f"--{port}-port=0" for port in ("http", "grpc", "metrics")]
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", RUN, "serve", *arguments, *free],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Triton 2." in line:
            process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, "".join(lines)


def _run_python(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python")
    for name in ("build/mine/bundle", "clip.wav"):
        assert name in code
        code = code.replace(name, places[name])
    printed: list[tuple[object, ...]] = []
    scope = {"hemogat": hemogat, "print": lambda *values: printed.append(values)}
    exec(compile(code, "README.md", "exec"), scope)
    label, probabilities, modalities = printed[0]
    assert label in probabilities
    assert modalities == ("audio", "text")
    assert len(printed) > 1  # neighbours


def test_the_table_is_the_committed_result() -> None:
    result = json.loads(RESULT.read_text())
    cells = [
        [cell.strip(" *") for cell in line.strip("|").split("|")]
        for line in README.splitlines()
        if line.startswith("|")
    ]
    rows = {row[0]: row[1:] for row in cells}
    for name, accuracy in result["accuracy"].items():
        (shown,) = [
            row for head, row in rows.items() if f"`{name}`" in head or name in _plain(head)
        ]
        assert shown == [f"{100 * accuracy:.0f}"], name
    for stage, head in (("end_to_end", "in process"), ("triton_grpc", "over gRPC")):
        (shown,) = [row for title, row in rows.items() if title.endswith(head)]
        expected = result["latency_ms"][stage]
        assert shown == [f"{expected[p]:.1f}" for p in ("p50", "p95", "p99")], stage
    assert result["parity"]["flips"] == result["triton"]["flips"] == 0


@pytest.mark.parametrize(
    ("name", "head", "figure"),
    [
        ("meld-text", "MELD", "weighted_f1"),
        ("emodb-speech", "Emo-DB", "unweighted_accuracy"),
    ],
)
def test_figures_on_real_data_are_the_committed_results(name: str, head: str, figure: str) -> None:
    result = json.loads((RESULT.parent / f"{name}.json").read_text())
    rows = {
        (row["head"], row["graph"]): row["figures"][figure]
        for row in result["evaluation"]["plain_messages"]["rows"]
    }
    order = [("full", "inductive"), ("full", "transductive"), ("full", "self_loop")]
    expected = [
        f"{100 * rows[key]['mean']:.1f} ± {100 * rows[key]['std']:.1f}"
        for key in (*order, ("no_gnn", "inductive"))
    ]
    (line,) = [line for line in README.splitlines() if line.startswith(f"| {head}")]
    assert [cell.strip(" *") for cell in line.strip("|").split("|")[1:]] == expected


def _plain(head: str) -> str:
    return head.split("(")[0].removeprefix("control: ").strip().replace(" ", "_")
