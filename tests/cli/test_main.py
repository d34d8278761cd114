from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from hemogat import __version__
from hemogat.optional import pip_line

COMMANDS = (
    "demo",
    "prepare",
    "train",
    "import-checkpoint",
    "evaluate",
    "export",
    "inspect",
    "predict",
    "serve",
    "bench",
    "doctor",
)
HEAVY = (
    "torch",
    "transformers",
    "torch_geometric",
    "numpy",
    "onnxruntime",
    "tritonclient",
)
Process = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_lists_the_commands_and_the_exit_codes(hemogat: Callable[..., Result]) -> None:
    result = hemogat("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)
    told = " ".join(result.stdout.split())
    assert "3 something needed is missing here, 4 a gate on reports of two machines" in told


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(hemogat: Callable[..., Result], command: str) -> None:
    result = hemogat(command, "--help")
    assert result.exit_code == 0
    assert f"Usage: hemogat {command}" in result.stdout


def test_no_help_imports_anything_heavy() -> None:
    program = f"""
import json, sys
from contextlib import suppress
from hemogat.cli.main import app
loaded = [name for name in {(*HEAVY, "pydantic")!r} if name in sys.modules]
for arguments in ["--help"], ["--version"], *([c, "--help"] for c in {COMMANDS!r}):
    with suppress(SystemExit):
        app(arguments)
# Newer releases of typer bring in pydantic themselves.
print(json.dumps(loaded + [name for name in {HEAVY!r} if name in sys.modules]))
"""
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    *helps, loaded = process.stdout.splitlines()
    assert json.loads(loaded) == []
    assert sum("Usage:" in line for line in helps) == 1 + len(COMMANDS)


def test_version(hemogat: Callable[..., Result]) -> None:
    assert hemogat("--version").stdout == f"hemogat {__version__}\n"


@pytest.mark.parametrize("arguments", [("nosuchcommand",), ("predict",), ("train", "demo"), ()])
def test_usage_errors_exit_with_2(hemogat_process: Process, arguments: tuple[str, ...]) -> None:
    process = hemogat_process(*arguments)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert "Usage" in process.stdout + process.stderr


def test_a_refusal_is_one_line_and_exits_with_1(hemogat_process: Process, tmp_path: Path) -> None:
    process = hemogat_process("inspect", tmp_path)
    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.startswith(f"error: {tmp_path}: is not a bundle")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "missing", "extra"),
    [
        (("train", "demo", "--manifest", "{manifest}"), "torch", "train"),
        (
            (
                "import-checkpoint",
                "x.pt",
                "--train",
                "x",
                "--test",
                "x",
                "--labels",
                "a",
                "--out",
                "x",
            ),
            "torch",
            "train",
        ),
        (("evaluate", "{empty}"), "sklearn", "train"),
        (("export", "{empty}"), "onnx", "export"),
        (("demo",), "torch", "demo"),
        (("predict", "{bundle}", "--text", "hello"), "onnxruntime", "cpu"),
        (("serve", "{bundle}", "--http-port", "0"), "tritonclient", "serve"),
    ],
)
def test_a_missing_package_exits_with_3_and_names_the_extra(
    hemogat_process: Process,
    tmp_path: Path,
    tiny_bundle: Path,
    arguments: tuple[str, ...],
    missing: str,
    extra: str,
) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("audio,text,label,speaker,split\n,hello,happy,ann,train\n")
    places = {"manifest": manifest, "empty": tmp_path, "bundle": tiny_bundle}
    process = hemogat_process(*(a.format(**places) for a in arguments), without=(missing,))
    assert process.returncode == 3, process.stderr
    assert "Traceback" not in process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert pip_line(extra) in last


def test_an_incomplete_installation_exits_with_3(hemogat_process: Process, tmp_path: Path) -> None:
    process = hemogat_process("predict", tmp_path, "--text", "hello", without=("soundfile",))
    assert process.returncode == 3
    assert process.stderr == (
        f"error: soundfile is not installed; install what hemogat needs with: {pip_line()}\n"
    )


def test_an_interruption_while_modules_load_is_one_line(tmp_path: Path) -> None:
    """A module that commands import stands in for a slow one: it presses Ctrl-C."""
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom hemogat.__main__ import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"


def test_the_command_begins_where_that_is_caught() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '\nhemogat = "hemogat.__main__:main"\n' in project
