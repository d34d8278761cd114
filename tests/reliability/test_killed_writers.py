"""Processes that are killed or interrupted while they write, at random points.

Training under Ctrl-C: tests/cli/test_train.py, tests/training/test_partial_run.py.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from hemogat.config import Recipe
from hemogat.runtime.bundle import Bundle

# Replaces the bundle at argv[2] by copies of the one at argv[1], as an export does at its end.
REPLACE = """
import shutil, sys
from pathlib import Path
from hemogat.files import folder_written_whole
from hemogat.runtime.bundle_sums import write_sums

source, target = map(Path, sys.argv[1:])
print("begun", flush=True)
while True:
    with folder_written_whole(target, replace_if_has="bundle.json") as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        write_sums(folder)
"""
# Trains in a child process for each line that it reads, "resume" or "refuse", and says its id: the
# libraries are loaded once.
TRAIN = """
import os, sys
from pathlib import Path
from hemogat.config import Recipe
from hemogat.training.train import train

recipe, manifest, out = Recipe.model_validate_json(sys.argv[1]), *map(Path, sys.argv[2:])
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        train(recipe, manifest, out, existing=line.strip(), checkpoint_every_s=0)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
ROUNDS = 4  # of training that is killed
RUN = "from hemogat.cli.main import run; run()"


def test_a_bundle_that_is_replaced_is_there_whole_at_any_time(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    random = Random(0)
    target = Path(shutil.copytree(tiny_bundle, tmp_path / "out" / "bundle"))
    for _ in range(12):
        command = [sys.executable, "-c", REPLACE, str(tiny_bundle), str(target)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(random.uniform(0, 0.1))
            process.kill()
        Bundle.open(target)
    for hidden in target.parent.iterdir():  # what the killed ones were at work on
        assert hidden == target or hidden.name.startswith(".bundle.")


@pytest.mark.slow
def test_training_that_is_killed_at_random_ends_with_the_same_bits(
    tiny_run: Path, tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path
) -> None:
    random = Random(0)
    out, partial = tmp_path / "run", tmp_path / "run.partial"
    command = [sys.executable, "-c", TRAIN, tiny_recipe.model_dump_json(), str(tiny_manifest)]
    with subprocess.Popen(
        [*command, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        killed = 0
        for number in range(50):
            process.stdin.write("resume\n" if partial.exists() else "refuse\n")
            process.stdin.flush()
            child = int(process.stdout.readline())
            if number < ROUNDS:
                time.sleep(random.uniform(0, 0.6))
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            code = int(process.stdout.readline())
            killed += code == -signal.SIGKILL
            assert code in (0, -signal.SIGKILL)
            if out.exists() and not partial.exists():
                break
        process.stdin.close()
    assert killed > 0
    assert content(out) == content(tiny_run)
    for hidden in tmp_path.iterdir():
        assert hidden == out or hidden.name.startswith(".run.")


def content(run: Path) -> dict[str, bytes]:
    """Return all that a run is made of; its record holds the time, its logs the process."""
    files = [path for path in run.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {
        str(path.relative_to(run)): path.read_bytes() for path in files if path.name != "run.json"
    }


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_export_that_is_stopped_leaves_the_bundle_that_was_there(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path, number: signal.Signals
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "out" / "bundle"))
    before = (bundle / "SHA256SUMS").read_bytes()
    command = [sys.executable, "-c", RUN, "export", str(tiny_run), "--out", str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list(bundle.parent.glob(".bundle.*/*_encoder")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if number is signal.SIGINT else -number), stderr
    Bundle.open(bundle)
    assert (bundle / "SHA256SUMS").read_bytes() == before
    if number is signal.SIGINT:
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


WRITE = """
import sys
from pathlib import Path
from hemogat.files import move_into_place, write_atomic

out = Path(sys.argv[1])
write_atomic(out / "file", "content")
write_atomic(out / "run.partial" / "run.json", "content")
move_into_place(out / "run.partial", out / "run")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_files_and_finished_runs_are_on_the_disk_before_their_names_are(tmp_path: Path) -> None:
    """Predictions, journals, reports and records are such files; a run is such a folder."""
    lines = traced([sys.executable, "-c", WRITE, str(tmp_path / "out")], tmp_path / "trace")
    calls = [re.sub(r"^\d+ +(\w+).*", r"\1", line) for line in lines]
    assert calls == ["fsync", "rename", "fsync"] * 2 + ["fsync", "fsync", "rename", "fsync"]
    paths = [re.findall(r"[<\"](/[^>\"]*)[>\"]", line) for line in lines]
    for number, name in ((1, "file"), (4, "run.partial/run.json")):
        temporary, target = paths[number]
        assert target == str(tmp_path / "out" / name)
        assert paths[number - 1] == [temporary]
        assert paths[number + 1] == [str(Path(target).parent)]
    run, partial = str(tmp_path / "out" / "run"), str(tmp_path / "out" / "run.partial")
    assert paths[6:8] == [[f"{partial}/run.json"], [partial]]
    assert paths[8:] == [[partial, run], [str(tmp_path / "out")]]


def traced(command: list[str], trace: Path) -> list[str]:
    """Run a command; return the system calls that make content and names last."""
    calls = "trace=fsync,rename,renameat,renameat2"
    done = subprocess.run(
        ["strace", "-f", "-y", "-e", calls, "-o", str(trace), *command],
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    return [line for line in trace.read_text().splitlines() if str(trace.parent / "out") in line]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_content_is_on_the_disk_before_its_name_is(tiny_bundle: Path, tmp_path: Path) -> None:
    """What a power loss can undo is in the order of the system calls."""
    script = REPLACE.replace("while True", "for _ in range(2)")
    target, trace = tmp_path / "out" / "bundle", tmp_path / "trace"
    command = [sys.executable, "-c", script, str(tiny_bundle), str(target)]
    lines = traced(command, trace)
    renames = [i for i, line in enumerate(lines) if "rename" in line]
    assert len(renames) == 2  # the first appears, the second changes places with it
    assert "RENAME_EXCHANGE" in lines[renames[1]]
    files = [p.relative_to(target).as_posix() for p in target.rglob("*")]
    begin = 0
    for rename in renames:
        synced = [re.sub(r".*<(.*)>.*", r"\1", line) for line in lines[begin:rename]]
        beside = [Path(name).relative_to(target.parent).parts for name in synced]
        inside = {"/".join(parts[1:]) for parts in beside if parts}  # the temporary folder's
        assert {*files, ""} <= inside
        assert f"<{target.parent}>" in lines[rename + 1]  # the new name itself
        begin = rename + 2
