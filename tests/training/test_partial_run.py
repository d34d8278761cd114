from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hemogat.config import Recipe
from hemogat.errors import ConfigError, InputError
from hemogat.files import write_atomic
from hemogat.progress import Progress, Stage
from hemogat.training import partial_run as module
from hemogat.training.partial_run import ORIGIN_FILE, Existing, Origin, partial_path, partial_run
from hemogat.training.processes import make_accelerator
from hemogat.training.run_directory import RECORD_FILE, RunDirectory
from hemogat.training.run_lock import locked
from hemogat.training.train import train


class _Trap(Stage):
    """Presses Ctrl-C at a step."""

    def __init__(self, steps: int) -> None:
        super().__init__(None, None)
        self._left = steps

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self._left -= steps
        if self._left <= 0:
            raise KeyboardInterrupt


class Interrupting(Progress):
    """Lets one stage come to a step and no further; remembers the stages that ran."""

    def __init__(self, title: str, steps: int) -> None:
        super().__init__()
        self.title, self.steps = title, steps
        self.titles: list[str] = []

    @contextmanager
    def stage(
        self, title: str, total: int | None = None, *, undisturbed: bool = False
    ) -> Iterator[Stage]:
        self.titles.append(title)
        yield _Trap(self.steps) if title == self.title else Stage(None, None)


def weights(run: Path) -> dict[str, bytes]:
    files = [path for path in run.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {
        str(path.relative_to(run)): path.read_bytes() for path in files if path.name != RECORD_FILE
    }


def test_an_interrupted_run_ends_as_an_uninterrupted_one_to_the_last_bit(
    tiny_run: Path, tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    existing: Existing = "refuse"
    seen = []
    for title, steps in (
        ("Decode audio", 7),
        ("Train audio encoder", 24 + 16),  # after the second batch of the second epoch
        ("Train text encoder", 1),  # before any checkpoint
        ("Train text encoder", 24),  # after the first epoch, before its checkpoint
        ("Extract embeddings", 1),  # the first shard is there
        ("Train head (no_gnn, seed 1)", 4),
        ("Train head (text_only, seed 0)", 1),
    ):
        progress = Interrupting(title, steps)
        with pytest.raises(KeyboardInterrupt):
            train(
                tiny_recipe,
                tiny_manifest,
                out,
                progress,
                existing=existing,
                checkpoint_every_s=0,
            )
        assert not out.exists()
        seen.append(progress.titles)
        existing = "resume"
    train(tiny_recipe, tiny_manifest, out, existing="resume")
    assert weights(out) == weights(tiny_run)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    # What was finished was not made again.
    assert "Train audio encoder" not in seen[4]
    assert seen[6][-2:] == ["Train head (audio_only, seed 1)", "Train head (text_only, seed 0)"]
    assert "Train head (full, seed 0)" not in seen[6]
    one, other = RunDirectory.open(out).record, RunDirectory.open(tiny_run).record
    assert one.model_copy(update={"created_utc": other.created_utc}) == other


def test_what_draws_random_numbers_goes_on_within_an_epoch(
    tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path
) -> None:
    changes = {"probability": 0.7, "speed": [0.9, 1.1], "noise_snr_db": [5, 30], "gain_db": [-6, 6]}
    raw = tiny_recipe.model_dump() | {"seeds": 1, "audio_augmentation": changes}
    for part in ("audio_training", "text_training"):
        raw[part] = raw[part] | {"objective": "contrastive"}
    raw["graph"] = raw["graph"] | {"labels": True}
    recipe = Recipe.model_validate(raw)
    whole = train(recipe, tiny_manifest, tmp_path / "whole").path
    existing: Existing = "refuse"
    for title, steps in (
        ("Train audio encoder", 16),
        ("Train text encoder", 24 + 8),
        ("Train head (full, seed 0)", 3),
    ):
        progress = Interrupting(title, steps)
        with pytest.raises(KeyboardInterrupt):
            train(
                recipe,
                tiny_manifest,
                tmp_path / "run",
                progress,
                existing=existing,
                checkpoint_every_s=0,
            )
        existing = "resume"
    train(recipe, tiny_manifest, tmp_path / "run", existing="resume")
    assert weights(tmp_path / "run") == weights(whole)


@pytest.fixture
def origin(tiny_recipe: Recipe, tiny_manifest: Path) -> Origin:
    return Origin.of(tiny_recipe, tiny_manifest, skip_bad=False)


def fill(out: Path, origin: Origin, existing: Existing, name: str, failure: BaseException) -> None:
    """Begin a partial run, make a file or folder in it, then fail."""
    with partial_run(out, origin, existing, make_accelerator(), 0) as partial:
        (partial.folder / name).mkdir(exist_ok=True)
        raise failure


def enter(out: Path, origin: Origin, existing: Existing, failure: type[BaseException]) -> Path:
    """Fill a partial run with something that took long, then fail."""
    with pytest.raises(failure):
        fill(out, origin, existing, "audio_encoder", failure("for some reason"))
    return partial_path(out)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, ConfigError])
def test_what_took_long_is_kept(
    origin: Origin, tmp_path: Path, failure: type[BaseException]
) -> None:
    folder = enter(tmp_path / "run", origin, "refuse", failure)
    assert (folder / "audio_encoder").is_dir()
    with pytest.raises(InputError, match=r"run\.partial: .*--resume, .*--restart"):
        enter(tmp_path / "run", origin, "refuse", KeyboardInterrupt)
    enter(tmp_path / "run", origin, "resume", KeyboardInterrupt)
    with partial_run(tmp_path / "run", origin, "restart", make_accelerator(), 0) as partial:
        assert not partial.holds_work()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("replaces", [False, True])
def test_a_finished_run_that_a_crash_kept_from_its_place_is_moved_there(
    origin: Origin,
    tiny_run: Path,
    tiny_recipe: Recipe,
    tiny_manifest: Path,
    tmp_path: Path,
    moved: bool,
    replaces: bool,
) -> None:
    """Stopped before or behind the rename; the run before it may have changed places with it."""
    out, partial = tmp_path / "run", tmp_path / "run.partial"
    shutil.copytree(tiny_run, out if moved else partial)
    ((out if moved else partial) / ORIGIN_FILE).write_text(origin.model_dump_json())
    if replaces:
        before = partial if moved else out
        before.mkdir()
        (before / RECORD_FILE).write_text("an old run")
    progress = Interrupting("", 0)
    train(tiny_recipe, tiny_manifest, out, progress, existing="resume")
    assert progress.titles == []  # nothing was made again
    assert weights(out) == weights(tiny_run)
    assert (out / RECORD_FILE).read_bytes() == (tiny_run / RECORD_FILE).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("existing", ["refuse", "resume", "restart"])
def test_what_is_no_run_is_not_taken_for_the_one_that_changed_places(
    origin: Origin, tiny_run: Path, tmp_path: Path, existing: Existing
) -> None:
    """After such a crash, too, somebody may put something of their own there."""
    out, notes = tmp_path / "run", tmp_path / "run.partial" / "notes.txt"
    shutil.copytree(tiny_run, out)
    (out / ORIGIN_FILE).write_text(origin.model_dump_json())
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(InputError, match=r"run\.partial: .* holds something else; move it away"):
        fill(out, origin, existing, "tokenizer", KeyboardInterrupt)
    assert notes.read_text() == "mine"
    assert weights(out).keys() == {*weights(tiny_run), ORIGIN_FILE}
    notes.parent.rename(tmp_path / "elsewhere")
    with partial_run(out, origin, "resume", make_accelerator(), 0) as partial:
        assert partial.is_filled()  # the finished run is still known as such


def test_a_refusal_before_that_leaves_nothing(origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        fill(tmp_path / "run", origin, "refuse", "tokenizer", ConfigError("does not fit"))
    assert list(tmp_path.iterdir()) == []


def test_only_the_same_run_is_continued(
    origin: Origin, tiny_recipe: Recipe, tiny_manifest: Path, tmp_path: Path
) -> None:
    enter(tmp_path / "run", origin, "refuse", KeyboardInterrupt)
    head = tiny_recipe.head.model_copy(update={"hidden": 32})
    other = origin.model_copy(update={"recipe": tiny_recipe.model_copy(update={"head": head})})
    with pytest.raises(InputError, match=r"recipe\.head\.hidden 16, not 32"):
        enter(tmp_path / "run", other, "resume", KeyboardInterrupt)
    changed = tmp_path / "manifest.csv"
    changed.write_text(tiny_manifest.read_text() + "\n")
    with pytest.raises(InputError, match="a manifest of other content"):
        enter(
            tmp_path / "run",
            Origin.of(tiny_recipe, changed, skip_bad=False),
            "resume",
            KeyboardInterrupt,
        )
    with pytest.raises(InputError, match="skip_bad False, not True"):
        enter(
            tmp_path / "run",
            Origin.of(tiny_recipe, tiny_manifest, skip_bad=True),
            "resume",
            KeyboardInterrupt,
        )


def test_there_must_be_something_to_resume(origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.partial: expected an interrupted run, found none"):
        enter(tmp_path / "run", origin, "resume", KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", ["refuse", "resume", "restart"])
def test_what_is_no_partial_run_is_left_alone(
    origin: Origin, tmp_path: Path, existing: Existing
) -> None:
    thesis = tmp_path / "run.partial" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    with pytest.raises(InputError, match="holds something else"):
        enter(tmp_path / "run", origin, existing, KeyboardInterrupt)
    assert thesis.read_text() == "years of work"


def test_a_finished_run_is_replaced_only_if_asked(
    origin: Origin, tiny_run: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    existing: Existing
    for existing in ("refuse", "resume"):
        with pytest.raises(InputError, match=r"run: holds a finished run; .*--out, .*--restart"):
            enter(out, origin, existing, KeyboardInterrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    enter(out, origin, "restart", KeyboardInterrupt)
    with pytest.raises(InputError, match=r"run\.partial: holds an interrupted run"):
        enter(out, origin, "refuse", KeyboardInterrupt)
    assert weights(out) == weights(tiny_run)  # until the new one is made
    with partial_run(out, origin, "resume", make_accelerator(), 0):
        pass
    assert not (out / RECORD_FILE).exists()


@pytest.mark.parametrize("existing", ["refuse", "resume", "restart"])
@pytest.mark.parametrize("resumed", [False, True])
def test_one_process_makes_a_run_at_a_time(
    origin: Origin, tmp_path: Path, existing: Existing, resumed: bool
) -> None:
    out = tmp_path / "run"
    if resumed:
        enter(out, origin, "refuse", KeyboardInterrupt)
    with partial_run(out, origin, "resume" if resumed else "refuse", make_accelerator(), 0) as made:
        with pytest.raises(InputError, match=r"run: is being trained by another process; .*--out"):
            enter(out, origin, existing, KeyboardInterrupt)
        assert (made.folder / ORIGIN_FILE).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_who_was_quicker_keeps_the_place(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found it empty; the other's folder came while this one's was made."""
    out, write = tmp_path / "run", write_atomic

    def slow(path: Path, content: str) -> None:
        write(path, content)
        partial_path(out).mkdir()
        write(partial_path(out) / ORIGIN_FILE, "the other's")

    monkeypatch.setattr(module, "write_atomic", slow)
    with pytest.raises(InputError, match="is being trained by another process"):
        enter(out, origin, "refuse", KeyboardInterrupt)
    assert (partial_path(out) / ORIGIN_FILE).read_text() == "the other's"
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]


def test_a_run_that_is_just_put_into_its_place_is_another_processs(
    origin: Origin, tiny_run: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    (out / ORIGIN_FILE).write_text(origin.model_dump_json())
    with locked(out / ORIGIN_FILE, out), pytest.raises(InputError, match="another process"):
        enter(out, origin, "restart", KeyboardInterrupt)
    assert (out / ORIGIN_FILE).is_file()
