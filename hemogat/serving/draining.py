"""How a server stops without losing what it has let in.

Triton refuses what its models ask of each other as soon as it is told to stop, so the work must be
done before. The launcher and the models that clients call agree on it by files in a folder that an
environment variable names: each model's process has one there, until, after the launcher wrote that
it wants to stop, nothing is under way in it any more.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

FOLDER_VARIABLE = "HEMOGAT_DRAIN_FOLDER"

_STOPPING = "stopping"
_MODELS = "*.model"
_NOTICED_S = 0.1  # a model looks so often whether it should stop
_POLL_S = 0.02
_LATE = 1.02  # so much later than its time a request may be given up
_MARGIN_S = 1.0


class DrainWatch:
    """A model's side: refuses new work once the launcher wants to stop, and tells when it is done.

    Does nothing where no launcher has named a folder.

    Args:
        name: of the model.
        timeout_s: within which each request is answered.
        close: has the model refuse new work from now on.
        is_idle: says whether nothing is under way.
    """

    def __init__(
        self,
        name: str,
        timeout_s: float,
        close: Callable[[], None],
        is_idle: Callable[[], bool],
    ) -> None:
        folder = os.environ.get(FOLDER_VARIABLE)
        self._folder = Path(folder) if folder else None
        self._name = name
        self._timeout_s = timeout_s
        self._close = close
        self._is_idle = is_idle
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Tell the launcher of this process, and watch for its wish."""
        if self._folder is not None:
            mark = self._folder / f"{self._name}.{os.getpid()}{_MODELS[1:]}"
            mark.write_text(f"{os.getpid()} {self._timeout_s}", encoding="utf-8")
            wish = self._folder / _STOPPING
            self._thread = threading.Thread(target=self._watch, args=(wish, mark), name="drain")
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, wish: Path, mark: Path) -> None:
        while not self._ending.wait(_NOTICED_S):
            if wish.exists():
                self._close()  # before the look: what comes after it is refused
                if self._is_idle():
                    mark.unlink(missing_ok=True)
                    return


def longest_drain_s(timeout_s: float) -> float:
    """Return how long models that answer within ``timeout_s`` may take to finish their work."""
    return _LATE * timeout_s + _MARGIN_S


def drain(
    folder: Path,
    limit_s: float | None,
    hurry: threading.Event,
    is_running: Callable[[int], bool],
    on_wait: Callable[[float], None],
) -> None:
    """Have the models refuse new work, and wait until they have done what they let in.

    Args:
        folder: that the models' processes were told of.
        limit_s: how long to wait at most; default: the time in which they answer everything.
        hurry: ends the waiting.
        is_running: says whether there still is a process of this number.
        on_wait: called with the limit if there is something to wait for.
    """
    marks = {mark: mark.read_text(encoding="utf-8").split() for mark in folder.glob(_MODELS)}
    if not marks:
        return
    if limit_s is None:
        limit_s = longest_drain_s(max(float(timeout_s) for _, timeout_s in marks.values()))
    (folder / _STOPPING).touch()
    began_s = time.monotonic()
    told = False
    while any(mark.exists() and is_running(int(pid)) for mark, (pid, _) in marks.items()):
        waited_s = time.monotonic() - began_s
        if waited_s > limit_s or hurry.wait(_POLL_S):
            return
        if not told and waited_s > 5 * _NOTICED_S:
            told = True
            on_wait(limit_s)
