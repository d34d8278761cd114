"""The measuring side's end of a worker process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from typing import TypeVar

from hemogat import errors
from hemogat.benchmarks.reference import reference_environment
from hemogat.benchmarks.targets import Case, PeerTarget, ReferenceTarget, Target
from hemogat.benchmarks.worker_protocol import Close, Closed, Failed, Open, Opened, Run, Turn
from hemogat.config import Settings
from hemogat.errors import HemogatError

_WORKER = "hemogat.benchmarks.worker"
_END_TIMEOUT_S = 30
_LAST_LINES = 3
_AnswerT = TypeVar("_AnswerT", bound=Settings)


class WorkerLink:
    """A fresh process that has loaded one target.

    ``start_up_s``: from starting the process until the target was loaded.

    Raises:
        HemogatError: the target cannot be loaded here, as the worker says, or the worker died.
    """

    def __init__(
        self, name: str, target: Target, *, threads: int | None = None, device: str = "cpu"
    ) -> None:
        self.name = name
        # Closed in stop(); a pipe would fill up, and block the worker, while nobody reads it.
        self._errors = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        started = time.perf_counter()
        self._process = subprocess.Popen(
            target.command if isinstance(target, PeerTarget) else [sys.executable, "-m", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=reference_environment(threads) if isinstance(target, ReferenceTarget) else None,
        )
        try:
            request = Open(target=target, threads=threads, device=device)
            self.opened = self._ask(request, Opened)
        except BaseException:
            self.stop()
            raise
        self.start_up_s = time.perf_counter() - started

    def run(self, case: Case, *, untimed: int, timed: int) -> Turn:
        """Run a case in the worker.

        Raises:
            HemogatError: the target cannot run it, or the worker died.
        """
        return self._ask(Run(case=case, untimed=untimed, timed=timed), Turn)

    def close(self) -> Closed:
        """End the worker; return what it used."""
        try:
            return self._ask(Close(), Closed)
        finally:
            self.stop()

    def stop(self) -> None:
        """End the worker, if need be by force."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with suppress(BrokenPipeError):  # one that is gone cannot take what was left to write
                self._process.stdin.close()  # the worker ends when nothing more can come
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def _ask(self, request: Settings, kind: type[_AnswerT]) -> _AnswerT:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(request.model_dump_json(), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise HemogatError(self._died())
        answer = json.loads(line)
        if answer.keys() == Failed.model_fields.keys():
            failed = Failed.model_validate(answer)
            raise getattr(errors, failed.kind, HemogatError)(failed.message)
        return kind.model_validate_json(line)

    def _died(self) -> str:
        self._process.wait(_END_TIMEOUT_S)
        self._errors.seek(0)
        said = " ".join(self._errors.read().split("\n")[-_LAST_LINES:]).strip()
        return (
            f"{self.name}: the process that measured it ended with code "
            f"{self._process.returncode}; it said last: {said or 'nothing'}"
        )
