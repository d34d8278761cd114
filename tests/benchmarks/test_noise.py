from __future__ import annotations

import subprocess
import sys

import pytest

from hemogat.benchmarks import noise
from hemogat.benchmarks.noise import NOISY_SHARE, RunWatch, is_noisy

BURN = """
import time
while time.process_time() < 0.8: pass
"""


@pytest.mark.skipif(not noise._PROC_STAT.exists(), reason="no /proc/stat here")
def test_others_are_told_from_own_children() -> None:
    busy_before, _ = noise._machine_cpu_s() or (0.0, 0.0)
    watch = RunWatch()
    subprocess.run([sys.executable, "-c", BURN], check=True)
    facts = watch.facts()
    busy_after, _ = noise._machine_cpu_s() or (0.0, 0.0)
    share = facts["other_cpu_share"]
    assert share is not None
    assert 0 <= share <= 1
    # The child's 0.8 s are in the machine's busy time and not in the others' share; half of them
    # is left for what happens between the readings.
    _, total_s = noise._machine_cpu_s() or (0.0, 0.0)
    assert busy_after - busy_before >= 0.4
    assert share * (total_s - watch._total_before_s) <= busy_after - busy_before - 0.4


def test_without_proc_the_load_average_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr(noise, "_PROC_STAT", tmp_path_factory.mktemp("none") / "stat")
    assert RunWatch().facts()["other_cpu_share"] is None
    assert is_noisy(None, load_before=3.0, cores=4)
    assert not is_noisy(None, load_before=0.9, cores=4)


def test_the_share_decides_where_it_is_known() -> None:
    assert is_noisy(NOISY_SHARE + 0.01, load_before=0.0, cores=4)
    assert not is_noisy(NOISY_SHARE, load_before=9.0, cores=4)


def test_a_measurement_says_when_and_where() -> None:
    facts = RunWatch().facts()
    assert facts["created_utc"].endswith("+00:00")
    assert facts["environment"].cores >= 1
    assert len(facts["load_average_before"]) == len(facts["load_average_after"]) == 3
