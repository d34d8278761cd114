"""Classifying every row of a CSV file on a server: many requests at once, resumable."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

from hemogat.config import Settings
from hemogat.contract import Modality
from hemogat.data.manifest import Row
from hemogat.errors import InputError, ServerError
from hemogat.files import replaces_a_file, write_atomic
from hemogat.progress import Progress, Stage
from hemogat.runtime.prediction_rows import (
    ManifestPredictions,
    SkippedRow,
    read_rows_to_predict,
    row_inputs,
    write_predictions,
)
from hemogat.serving.async_client import AsyncClient

JOURNAL_SUFFIX = ".partial"


class _Heading(Settings):
    """What a journal's answers belong to."""

    manifest_sha256: str
    bundle_sums: str


class _Entry(Settings):
    """One row's answer."""

    id: str
    label: str
    probabilities: dict[str, float]
    modalities: tuple[Modality, ...]


def predict_manifest_served(
    url: str | None,
    manifest: Path,
    out: Path,
    *,
    concurrency: int = 16,
    skip_bad: bool = False,
    timeout_s: float = 300.0,
    progress: Progress | None = None,
) -> ManifestPredictions:
    """Classify every row of ``manifest`` on a server; the files are those of
    :func:`hemogat.runtime.manifest_prediction.predict_manifest`.

    Each answer is kept in a journal beside ``out`` as soon as it comes, so that a call after an
    interruption sends the missing rows only. A server that cannot be reached or is overloaded is
    asked again until ``timeout_s`` have passed for a row.

    Args:
        url: of the server, as for :class:`hemogat.serving.client.Client`.
        manifest: the CSV file to read.
        out: the CSV file to write; an earlier one is replaced.
        concurrency: requests under way at a time.
        skip_bad: leave rows out that cannot be used, and list them, instead of stopping.
        timeout_s: how long one row may take, retries included.
        progress: draws a bar.

    Raises:
        InputError: a file or, unless they are skipped, a row cannot be used; names the row. Or
            the journal holds answers to another manifest, or of another model.
        ServerError: the server cannot be reached, failed, or got another bundle meanwhile; what
            the one before answered stays in the journal.
    """
    if not replaces_a_file(out):
        raise InputError(
            f"{out}: is a device or a pipe, beside which answers cannot be kept; name a file"
        )
    rows = read_rows_to_predict(manifest, out)
    with (progress or Progress()).stage("Predict", len(rows)) as stage:
        work = _Work(url, manifest, rows, skip_bad, stage, timeout_s)
        asyncio.run(work.run(out.with_name(out.name + JOURNAL_SUFFIX), concurrency))
    answered = [(row, work.answers[row.id]) for row in rows if row.id in work.answers]
    result = write_predictions(manifest, out, answered, work.skipped, work.labels)
    out.with_name(out.name + JOURNAL_SUFFIX).unlink()
    return result


class _Work:
    """The rows, shared out among workers on one event loop."""

    def __init__(
        self,
        url: str | None,
        manifest: Path,
        rows: list[Row],
        skip_bad: bool,
        stage: Stage,
        timeout_s: float,
    ) -> None:
        self.answers: dict[str, _Entry] = {}
        self.skipped: list[SkippedRow] = []
        self.labels: tuple[str, ...] = ()
        self._url = url
        self._manifest = manifest
        self._rows = rows
        self._skip_bad = skip_bad
        self._stage = stage
        self._timeout_s = timeout_s
        self._unchecked: list[_Entry] = []
        self._checking = asyncio.Lock()

    async def run(self, journal: Path, concurrency: int) -> None:
        # As many retries as fit into the time: only that counts.
        async with AsyncClient(self._url, timeout_s=self._timeout_s, retries=10_000) as client:
            facts = await client.model_facts()
            self.labels = facts.labels
            digest = hashlib.sha256(self._manifest.read_bytes()).hexdigest()
            heading = _Heading(manifest_sha256=digest, bundle_sums=facts.bundle_sums)
            self.answers = _read_journal(journal, heading)
            self._stage.advance(len(self.answers))
            waiting = iter([row for row in self._rows if row.id not in self.answers])
            with _Journal(journal, heading, self.answers.values()) as file:
                workers = [
                    asyncio.create_task(self._work(client, waiting, file))
                    for _ in range(concurrency)
                ]
                try:
                    await asyncio.gather(*workers)
                    if self.skipped:  # which another bundle may have refused
                        await self._check_bundle(client, file)
                finally:
                    for worker in workers:
                        worker.cancel()

    async def _work(self, client: AsyncClient, waiting: Iterator[Row], journal: _Journal) -> None:
        for row in waiting:
            try:
                audio, text, name = row_inputs(row, self._manifest, self.labels)
                answer = await client.predict(audio, text, name=name)
            except InputError as error:
                if not self._skip_bad:
                    raise
                self.skipped.append(SkippedRow(row.id, str(error)))
            else:
                entry = _Entry(
                    id=row.id,
                    label=answer.label,
                    probabilities=answer.probabilities,
                    modalities=answer.modalities,
                )
                await self._keep(entry, client, journal)
            self._stage.advance()

    async def _keep(self, entry: _Entry, client: AsyncClient, journal: _Journal) -> None:
        """Write an answer down if the server had the heading's bundle before it and after it.

        One question serves all answers that came before it was asked.
        """
        self._unchecked.append(entry)
        async with self._checking:
            came, self._unchecked = self._unchecked, []
            if not came:  # kept together with an earlier one
                return
            await self._check_bundle(client, journal)
            for each in came:
                self.answers[each.id] = each
                journal.append(each)

    async def _check_bundle(self, client: AsyncClient, journal: _Journal) -> None:
        facts = await client.model_facts(anew=True)
        if facts.bundle_sums != journal.heading.bundle_sums:
            raise ServerError(
                f"{self._manifest}: the server has got another bundle meanwhile (bundle_sums "
                f"{facts.bundle_sums:.12}, before {journal.heading.bundle_sums:.12}); the "
                f"answers of the earlier one are in {journal.path}: call again when it is "
                "back, or delete that file and begin anew"
            )


class _Journal:
    """A file of lines, each there as a whole or not at all."""

    def __init__(self, path: Path, heading: _Heading, answers: Iterable[_Entry]) -> None:
        self.path, self.heading = path, heading
        # What is known is written anew, without a line that a crash cut short.
        write_atomic(path, b"".join(_line(known) for known in (heading, *answers)))
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> _Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, entry: _Entry) -> None:
        """Add a line; a disk that is full leaves none of it."""
        end = self._file.seek(0, os.SEEK_END)
        rest = _line(entry)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(end)
            raise OSError(error.errno, error.strerror, self._file.name) from error


def _line(line: Settings) -> bytes:
    return (json.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n").encode()


def _read_journal(path: Path, heading: _Heading) -> dict[str, _Entry]:
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    # What a crash cuts short is the last line, never the heading: it is there as the file is.
    first, *lines = text.split("\n")[:-1] or [text]
    try:
        fits = _Heading.model_validate_json(first) == heading
        entries = [_Entry.model_validate_json(line) for line in lines]
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: is not a journal of predictions ({reason:.200}); delete it"
        ) from error
    if not fits:
        raise InputError(
            f"{path}: holds the answers of an interrupted run with another manifest or model; "
            "delete it, or name another file to write"
        )
    return {entry.id: entry for entry in entries}
