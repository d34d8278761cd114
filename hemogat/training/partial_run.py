"""A run that is being made: what is finished of it outlives an interruption.

It stands beside the run to be, under the same name and ``.partial``. Finished stages are the files
that the run will have; a stage that is under way has a checkpoint. Each stage seeds itself, so that
a run that was interrupted ends with the same weights as one that was not.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import ValidationError

from hemogat.config import Recipe, Settings
from hemogat.contract import MODALITIES
from hemogat.errors import BundleError, HemogatError, InputError
from hemogat.files import (
    check_replaceable,
    move_into_place,
    remove_folder,
    sync,
    write_atomic,
)
from hemogat.training.loop import StageFiles
from hemogat.training.run_directory import RECORD_FILE
from hemogat.training.run_lock import locked, taken
from hemogat.training.settings_difference import first_difference

ORIGIN_FILE = "partial.json"
_UNFINISHED = "unfinished"  # what a finished run does not keep

Existing = Literal["refuse", "resume", "restart"]


class Origin(Settings):
    """What a run is made from; only the same can go on with it."""

    recipe: Recipe
    manifest_sha256: str
    skip_bad: bool

    @classmethod
    def of(cls, recipe: Recipe, manifest: Path, skip_bad: bool) -> Origin:
        """Read what will be compared."""
        content = hashlib.sha256(manifest.read_bytes()).hexdigest()
        return cls(recipe=recipe, manifest_sha256=content, skip_bad=skip_bad)


@dataclass(frozen=True)
class PartialRun:
    """A run that is being made in ``folder``, by the processes of ``accelerator``."""

    folder: Path
    accelerator: Accelerator
    checkpoint_every_s: float

    @property
    def feature_cache(self) -> Path:
        """Where embeddings are kept if there is no cache of the user's."""
        return self.folder / _UNFINISHED / "features"

    def files(self, stage: str, *, own: bool = False) -> StageFiles:
        """Return where a stage keeps its checkpoint and logs; ``own``: it is this process's."""
        return StageFiles(
            self.folder / _UNFINISHED / f"{stage}.pt",
            self.folder / "logs" / stage,
            self.checkpoint_every_s,
            writes=own or self.accelerator.is_main_process,
            within_epochs=self.accelerator.num_processes == 1,
        )

    def finish(self, stage: str) -> None:
        """Drop the checkpoint of a stage whose result is stored."""
        (self.folder / _UNFINISHED / f"{stage}.pt").unlink(missing_ok=True)

    def is_filled(self) -> bool:
        """Whether all is made, and only its place is missing: its record is its last file."""
        return (self.folder / RECORD_FILE).is_file()

    def holds_work(self) -> bool:
        """Whether anything is in there that took long to make."""
        made = (_UNFINISHED, *(f"{modality}_encoder" for modality in MODALITIES))
        return any((self.folder / name).is_dir() for name in made)


def seed_stage(seed: int, stage: str) -> None:
    """Seed torch for one stage, so that it does not depend on what ran before it."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(stage.encode())])
    torch.manual_seed(int(entropy.generate_state(1)[0]))


def partial_path(out: Path) -> Path:
    """Return where the run ``out`` stands until it is finished."""
    out = out.absolute()
    return out.with_name(f"{out.name}.partial")


@contextmanager
def partial_run(
    out: Path,
    origin: Origin,
    existing: Existing,
    accelerator: Accelerator,
    checkpoint_every_s: float,
) -> Iterator[PartialRun]:
    """Give a partial run to fill; once filled, it becomes ``out``.

    An interruption or a crash leaves it. A refusal (:class:`HemogatError`) leaves it if it holds
    anything that took long. Until the end no other process can make a run at ``out``.

    Raises:
        InputError: ``out`` is something other than a run, another process makes one there, a
            finished or a partial run stands there and ``existing`` says refuse, or there is none
            to resume, or it was made from something else.
    """
    check_replaceable(out, replace_if_has=RECORD_FILE)
    folder = partial_path(out)
    with ExitStack() as lock:
        if accelerator.is_main_process:
            _settle_last_move(folder, out, existing)
            _open(folder, out, origin, existing, lock)
        accelerator.wait_for_everyone()
        partial = PartialRun(folder, accelerator, checkpoint_every_s)
        try:
            yield partial
        except HemogatError:
            if accelerator.is_main_process and not partial.holds_work():
                remove_folder(folder)
            raise
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            shutil.rmtree(folder / _UNFINISHED, ignore_errors=True)
            move_into_place(folder, out, replace_if_has=RECORD_FILE)
            # Not before: without it, what a crash leaves would be nobody's.
            (out / ORIGIN_FILE).unlink()
        accelerator.wait_for_everyone()


def _settle_last_move(folder: Path, out: Path, existing: Existing) -> None:
    """Do what a crash kept from being done after ``folder`` had become ``out``."""
    if not (out / ORIGIN_FILE).is_file():
        return
    with locked(out / ORIGIN_FILE, out):
        if folder.is_dir() and not (folder / ORIGIN_FILE).is_file():
            if any(folder.iterdir()) and not (folder / RECORD_FILE).is_file():
                return  # no run: somebody else's, which will be refused
            remove_folder(folder)  # the run that stood there before and changed places with it
        if existing == "resume" and not folder.exists():
            os.rename(out, folder)  # it is compared with what is asked for, and moved again
        else:
            (out / ORIGIN_FILE).unlink()


def _open(folder: Path, out: Path, origin: Origin, existing: Existing, lock: ExitStack) -> None:
    """Make the folder, or check that what stands there can be continued; lock it either way."""
    stands = (folder / ORIGIN_FILE).is_file()
    if folder.exists() and not stands and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: is where the run would be made, and holds something else; move it away, "
            f"or name another place with --out"
        )
    if stands:
        lock.enter_context(locked(folder / ORIGIN_FILE, out))
    if stands and existing == "refuse":
        raise InputError(
            f"{folder}: holds an interrupted run; continue it with --resume, or begin anew with "
            f"--restart"
        )
    if existing != "restart" and not stands and (out / RECORD_FILE).exists():
        raise InputError(
            f"{out}: holds a finished run; name another place with --out, or replace it with "
            f"--restart"
        )
    if not stands and existing == "resume":
        raise InputError(f"{folder}: expected an interrupted run, found none; leave out --resume")
    if stands and existing == "resume":
        _check_same(folder / ORIGIN_FILE, origin)
        return
    if stands:
        remove_folder(folder)
    _make(folder, out, origin, lock)


def _make(folder: Path, out: Path, origin: Origin, lock: ExitStack) -> None:
    """Make the folder: it is never there without its origin, nor before it is locked."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as hidden:
        new = Path(hidden) / folder.name
        new.mkdir()
        write_atomic(new / ORIGIN_FILE, origin.model_dump_json(indent=1) + "\n")
        lock.enter_context(locked(new / ORIGIN_FILE, out))
        try:
            os.rename(new, folder)  # which replaces no folder that holds anything
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise taken(out) from error
        sync(folder.parent)


def _check_same(path: Path, origin: Origin) -> None:
    try:
        stored = Origin.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BundleError(f"{path}: is damaged; begin anew with --restart") from error
    if stored.manifest_sha256 != origin.manifest_sha256:
        raise InputError(
            f"{path}: was made from a manifest of other content; give back that one, or begin "
            f"anew with --restart"
        )
    difference = first_difference(stored, origin)
    if difference is not None:
        name, then, now = difference
        raise InputError(
            f"{path}: was made with {name} {then}, not {now}; change it back, or begin anew with "
            f"--restart"
        )
