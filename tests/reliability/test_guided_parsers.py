"""What ``make fuzz`` does for minutes, in seconds: the same program, so many inputs, one seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip(
    "atheris", reason="atheris has wheels for Linux on x86-64 and Python 3.11 and later alone"
)

ROOT = Path(__file__).parents[2]
# Its parsers in the place of ours, all else as it is: one refuses all, one goes wrong behind two
# comparisons.
HASTY = """
import sys
from types import SimpleNamespace

import atheris
from hemogat.errors import InputError
from reliability.fuzz import main
from reliability.parser import Parser


def refuse(content):
    raise InputError("one line")


@atheris.instrument_func
def read(content):
    if content[:1] == b"H":
        if content[1:2] == b"G":
            raise {raised}
        raise InputError("an H alone")


known = dict(refusing=Parser(refuse, (b"aaaa",)), hasty=Parser(read, (b"aaaa",)))
sys.modules["reliability.parsers"] = SimpleNamespace(parsers=lambda folder, bundle: known)
main(["refusing", "hasty"], None, sys.argv[1:])
"""


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as ``make fuzz`` does; what libFuzzer keeps of a finding goes into ``folder``."""
    return subprocess.run(
        [sys.executable, *arguments, "-seed=1", f"-artifact_prefix={folder}/"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",  # the last input, where one is told
    )


def hasty(raised: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Fuzz a parser that raises so where its input begins with HG."""
    return python("-c", HASTY.format(raised=raised), "-runs=50000", folder=folder)


@pytest.mark.parametrize(
    ("names", "runs"),
    [(("audio", "pipeline"), 1_000), (("bundle", "manifest", "checkpoint", "features"), 10_000)],
)
def test_guided_inputs_give_a_result_or_a_refusal(
    names: tuple[str, ...], runs: int, tmp_path: Path
) -> None:
    done = python(
        *("-m", "reliability.fuzz", ",".join(names), "export/models/demo", f"-runs={runs}"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count(f"Done {runs} runs") == len(names)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("ValueError('not told as a refusal')", "ValueError: not told as a refusal"),
        ("InputError('one line\\nand another')", "a refusal of several lines"),
    ],
)
def test_another_exception_is_a_finding(raised: str, told: str, tmp_path: Path) -> None:
    done = hasty(raised, tmp_path)
    assert done.returncode != 0
    assert "hasty: a finding" in done.stderr
    assert told in done.stdout + done.stderr
    (kept,) = tmp_path.glob("crash-*")
    assert kept.read_bytes()[:2] == b"HG"


def test_refusals_alone_are_no_finding(tmp_path: Path) -> None:
    done = hasty("InputError('an H and a G')", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
