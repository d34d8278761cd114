from __future__ import annotations

import threading
import time

import pytest

from hemogat.progress import Progress


@pytest.mark.parametrize("undisturbed", [False, True])
def test_only_an_undisturbed_stage_draws_without_a_thread(undisturbed: bool) -> None:
    before = set(threading.enumerate())
    with Progress(visible=True).stage("measure", 2, undisturbed=undisturbed):
        started = set(threading.enumerate()) - before
    assert bool(started) is not undisturbed


def test_an_undisturbed_stage_still_shows_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(visible=True).stage("measure", 2, undisturbed=True) as stage:
        stage.advance(2)
    shown = capsys.readouterr()
    assert "measure" in shown.err
    assert "2/2" in shown.err
    assert shown.out == ""


def test_a_stage_says_how_long_the_rest_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(visible=True).stage("measure", 1000, undisturbed=True) as stage:
        for _ in range(4):
            time.sleep(0.02)
            stage.advance()
        assert stage._bar is not None
        stage._bar.refresh()
    assert "left" in capsys.readouterr().err
    remaining_s = stage._bar.tasks[0].time_remaining
    assert remaining_s is not None


def test_seconds_are_kept_by_stage_seen_or_not() -> None:
    progress = Progress()
    for title in ("train", "export", "train"):
        with progress.stage(title) as stage:
            stage.advance()
    assert progress.durations_s.keys() == {"train", "export"}
