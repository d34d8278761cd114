"""Processes that are killed or interrupted while they write, at random points.

Training under Ctrl-C: tests/cli/test_train.py, tests/training/test_partial_run.py.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

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


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_content_is_on_the_disk_before_its_name_is(tiny_bundle: Path, tmp_path: Path) -> None:
    """What a power loss can undo is in the order of the system calls."""
    script = REPLACE.replace("while True", "for _ in range(2)")
    target, trace = tmp_path / "out" / "bundle", tmp_path / "trace"
    command = [sys.executable, "-c", script, str(tiny_bundle), str(target)]
    calls = "trace=fsync,rename,renameat,renameat2"
    traced = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), *command]
    done = subprocess.run(traced, capture_output=True, text=True, timeout=120)
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    lines = [line for line in trace.read_text().splitlines() if str(target.parent) in line]
    renames = [i for i, line in enumerate(lines) if "rename" in line]
    assert len(renames) == 2  # the first appears, the second changes places with it
    assert "RENAME_EXCHANGE" in lines[renames[1]]
    files = [p.relative_to(target).as_posix() for p in target.rglob("*")]
    begin = 0
    for rename in renames:
        synced = [re.sub(r".*<(.*)>.*", r"\1", line) for line in lines[begin:rename]]
        inside = {name.split("/", name.count("/"))[-1] for name in synced}
        assert {Path(name).name for name in files} <= inside
        assert f"<{target.parent}>" in lines[rename + 1]  # the new name itself
        begin = rename + 2
