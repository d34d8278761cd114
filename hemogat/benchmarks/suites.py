"""Suites: several bench commands with their settings, run one after the other into one page."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hemogat.benchmarks.report import read_report
from hemogat.benchmarks.report_page import write_page
from hemogat.config import PositiveInt, Settings
from hemogat.errors import BundleError, HemogatError
from hemogat.files import folder_written_whole, write_atomic
from hemogat.runtime.bundle import sha256_of

STEP_FILE = "step.json"
_STOP_TIMEOUT_S = 60.0  # a server under load takes a while to stop
_NAME = r"^[a-z0-9][a-z0-9-]*$"

Option = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


class Step(Settings):
    """One bench command.

    ``targets``: its positional arguments; paths are relative to where the suite is run.
    ``settings``: its options by their long names without dashes; a list repeats the option, true
    and false give the flag and its negation. ``{NAME}`` as a value stands for the report of an
    earlier step. ``timeout_s``: after that the step is stopped.
    """

    name: Annotated[str, Field(pattern=_NAME)]
    command: Literal["latency", "serve", "gnn", "cost"]
    targets: tuple[str, ...] = ()
    settings: dict[str, Option] = Field(default_factory=dict)
    timeout_s: PositiveInt = 1800

    def arguments(self, reports: Mapping[str, Path]) -> list[str]:
        """Return the command line after ``hemogat bench``, given the earlier steps' reports."""
        return [self.command, *self._options(reports), *self.targets]

    @property
    def needs(self) -> set[str]:
        """The steps whose reports this one reads."""
        return {v[1:-1] for v in self.settings.values() if isinstance(v, str) and v[:1] == "{"}

    def _options(self, reports: Mapping[str, Path]) -> Iterator[str]:
        for name, value in self.settings.items():
            option = name.replace("_", "-")
            if isinstance(value, bool):
                yield f"--{option}" if value else f"--no-{option}"
            elif isinstance(value, str) and value[:1] == "{":
                yield f"--{option}={reports[value[1:-1]]}"
            else:
                for each in value if isinstance(value, tuple) else (value,):
                    yield f"--{option}={each}"


class Suite(Settings):
    """What a suite file holds; ``title`` is the heading of its page."""

    name: Annotated[str, Field(pattern=_NAME)]
    title: str
    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ_and_are_known(self) -> Suite:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError(f"names of steps repeat: {', '.join(names)}")
        for number, step in enumerate(self.steps):
            if missing := step.needs - set(names[:number]):
                raise ValueError(f"step {step.name}: {missing.pop()} is no earlier step")
        return self


class StepRecord(Settings):
    """What stands beside a step's report: what was run, what it wrote, and how long it took.

    ``read_sha256``: of the reports of earlier steps that it read, by the steps' names.
    """

    step: Step
    report: str
    took_s: float
    read_sha256: dict[str, str] = Field(default_factory=dict)


class SuiteFailedError(HemogatError):
    """A step failed; what earlier steps wrote is kept."""


def run_suite(suite: Suite, folder: Path, say: Callable[[str], None] = lambda line: None) -> Path:
    """Run the steps that have no report yet, and write a page of all; return its path.

    Each step runs in a process of its own and writes into a folder of its name, which appears when
    the step has succeeded. A step whose folder holds the report of the same step, made of the same
    reports of earlier steps, is left out, so a suite that was interrupted goes on where it stopped.

    Args:
        suite: what to run.
        folder: where reports and page are written.
        say: gets a line for each step.

    Raises:
        SuiteFailedError: a step failed or took longer than it may.
        IncompleteError: what draws the page is not installed.
    """
    reports: dict[str, Path] = {}
    for number, step in enumerate(suite.steps, 1):
        label = f"step {number} of {len(suite.steps)}, {step.name}"
        place = folder / step.name
        read_sha256 = {name: sha256_of(reports[name]) for name in sorted(step.needs)}
        record = _finished(place, step, read_sha256)
        if record is None:
            arguments = step.arguments(reports)
            say(f"{label}: hemogat bench {' '.join(arguments)}")
            record = _run(step, arguments, place, read_sha256)
            say(f"{label}: took {record.took_s:.0f} s")
        else:
            say(f"{label}: done before")
        reports[step.name] = place / record.report
    page = folder / f"{suite.name}.html"
    write_page([read_report(path) for path in reports.values()], page, suite.title)
    return page


def _finished(place: Path, step: Step, read_sha256: Mapping[str, str]) -> StepRecord | None:
    """Return the record of the same step; None where there is none, or one of other settings."""
    file = place / STEP_FILE
    if not file.is_file():
        return None
    try:
        record = StepRecord.model_validate_json(file.read_bytes())
    except ValueError as error:
        raise BundleError(f"{file}: is no record of a step; remove {place} to run it") from error
    return record if (record.step, record.read_sha256) == (step, read_sha256) else None


def _run(
    step: Step, arguments: Sequence[str], place: Path, read_sha256: Mapping[str, str]
) -> StepRecord:
    with folder_written_whole(place, replace_if_has=STEP_FILE) as folder:
        command = [sys.executable, "-m", "hemogat", "bench", *arguments]
        started = time.monotonic()
        try:
            code = _exit_code([*command, f"--out={folder}"], step.timeout_s)
        except subprocess.TimeoutExpired as error:
            raise SuiteFailedError(
                f"step {step.name}: took longer than {step.timeout_s} s; make it smaller, or raise "
                f"its timeout_s"
            ) from error
        written = sorted(path.name for path in folder.glob("*.json"))
        if code or len(written) != 1:
            raise SuiteFailedError(
                f"step {step.name}: expected one report, found exit code {code} and "
                f"{len(written)} reports of hemogat bench {' '.join(arguments)}; mend that and run "
                f"the suite again: it goes on with this step"
            )
        took_s = round(time.monotonic() - started, 1)
        record = StepRecord(
            step=step, report=written[0], took_s=took_s, read_sha256=dict(read_sha256)
        )
        write_atomic(folder / STEP_FILE, record.model_dump_json(indent=1) + "\n")
    return record


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore them


def _exit_code(command: Sequence[str], timeout_s: float) -> int:
    """Run a command; one that is stopped gets the time to stop what it started.

    Its temporary files lie in a folder of their own, which goes even if it has to be killed.

    Raises:
        subprocess.TimeoutExpired: it took too long.
    """
    with tempfile.TemporaryDirectory(prefix="hemogat-suite-") as scratch:
        process = subprocess.Popen(
            command, env=os.environ | {"TMPDIR": scratch}, preexec_fn=_heed_interrupts
        )
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            raise
        finally:
            # Interrupted from a terminal, it has the signal already: one more would cut it off.
            if process.poll() is None:
                try:
                    process.wait(_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
