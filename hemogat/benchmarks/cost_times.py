"""Times that a cost report sets beside work: of an earlier report, if they belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hemogat.benchmarks.figures import MACHINE, P50, Figure
from hemogat.benchmarks.report import BenchReport, read_report
from hemogat.benchmarks.targets import HeadShape
from hemogat.errors import ConfigError

_PRESET = "engines"  # the kind of report that always is of the base sizes
_COMPARABLE = ("side-by-side", _PRESET, "gnn")


def times_of_report(
    path: Path, shapes: Sequence[HeadShape], threads: int | None
) -> tuple[list[Figure], list[str]]:
    """Return the medians of a report with the rates of its machine, and a note on their origin.

    Args:
        path: a report of targets, engines or graph layers, as JSON.
        shapes: the sizes that are counted.
        threads: whose figures to take of a report of several numbers of threads.

    Raises:
        InputError: the file is no report.
        ConfigError: it is of another kind or other sizes, holds several numbers of threads or not
            those that are asked for, or lacks the rates of its machine.
    """
    report = read_report(path)
    if report.kind not in _COMPARABLE:
        raise ConfigError(
            f"{path}: is a report of {report.kind}; expected one of {', '.join(_COMPARABLE)}"
        )
    _check_models(path, report, shapes)
    wanted = [f for f in report.figures if f.metric == P50 or f.target == MACHINE]
    if not any(figure.target == MACHINE for figure in wanted):
        raise ConfigError(
            f"{path}: holds no rates of the machine that its times are of, which the floor is made "
            f"from; expected a report of what ran on a CPU"
        )
    found = _of_threads(path, wanted, threads)
    origin = f"times: {report.title}, measured {report.created_utc} on {report.environment.cpu}"
    return found, [origin]


def check_shape(name: str, found: HeadShape, shapes: Sequence[HeadShape]) -> None:
    """Refuse what has not the sizes that are counted.

    Raises:
        ConfigError: neither embeddings nor head nor bank may differ.
    """
    if (found.dims, found.head, found.bank_rows) not in [
        (shape.dims, shape.head, shape.bank_rows) for shape in shapes
    ]:
        raise ConfigError(
            f"{name}: is not of the sizes that are counted (a bank of {found.bank_rows} rows, "
            f"hidden {found.head.hidden}); name the run that it is made of: --run"
        )


def _check_models(path: Path, report: BenchReport, shapes: Sequence[HeadShape]) -> None:
    """Refuse models of other sizes; figures tell of which layers and bank they are."""
    told = [model.shape for model in report.models if model.shape is not None]
    if report.kind != _PRESET and (not told or len(told) < len(report.models)):
        raise ConfigError(
            f"{path}: does not tell the sizes of all that was measured, as servers do not, nor "
            f"reports of earlier versions; measure bundles or runs, with this version"
        )
    rows, gnn = shapes[0].bank_rows, shapes[0].head.gnn
    for shape in told or [HeadShape()]:
        head = shape.head.model_copy(update={"gnn": gnn})
        check_shape(str(path), shape.model_copy(update={"head": head, "bank_rows": rows}), shapes)


def _of_threads(path: Path, figures: Sequence[Figure], wanted: int | None) -> list[Figure]:
    """Return what ran on one number of threads; times on all cores do not tell theirs."""
    timed = {f.axes.get("threads") for f in figures if f.metric == P50} - {None}
    known = timed or {f.axes.get("threads") for f in figures if f.target == MACHINE}
    chosen = known if wanted is None else {wanted}
    if len(chosen) != 1 or not chosen <= known:
        raise ConfigError(
            f"{path}: expected figures on {'one number of' if wanted is None else wanted} threads, "
            f"found them on {', '.join(sorted(map(str, known)))}; choose with --threads"
        )
    (threads,) = chosen
    return [figure for figure in figures if figure.axes.get("threads", threads) == threads]
