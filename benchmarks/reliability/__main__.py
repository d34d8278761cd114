"""``make soak``: hostile requests, valid ones and kills, against servers of a bundle.

PYTHONPATH=benchmarks python -m reliability BUNDLE --out build/soak.json

Run again, it goes on with the phases that the result does not have.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hemogat.benchmarks.noise import RunWatch
from hemogat.errors import HemogatError, InputError
from hemogat.files import write_atomic
from hemogat.runtime.bundle import SUMS_FILE, sha256_of
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings
from reliability.faults_run import run_faults
from reliability.hostile_run import run_hostile
from reliability.http_run import run_http
from reliability.promises import (
    problems_of_faults,
    problems_of_hostile,
    problems_of_http,
    problems_of_soak,
)
from reliability.valid_run import run_soak

_STREAM_IDLE_S = 5
_FAULT_ROWS = 400  # of a round
_SETTINGS, _ENVIRONMENT = "settings", "environment"

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the phases; return 0 if nothing went wrong."""
    given = _arguments(arguments)
    phases: dict[str, Callable[[argparse.Namespace], tuple[Result, list[str]]]] = {
        "hostile": _hostile,
        "http": _http,
        "soak": _soak,
        "faults": _faults,
    }
    try:
        result = _result_so_far(given.out, _settings(given))
        for name, run in phases.items():
            if name in result:
                print(f"{name}: done before", flush=True)
                continue
            watch = RunWatch()
            found, problems = run(given)
            facts = watch.facts()
            environment = facts["environment"].model_dump(mode="json")
            if result.setdefault(_ENVIRONMENT, environment) != environment:
                raise InputError(f"{given.out}: of another commit or machine; remove it, run again")
            result[name] = {
                **{key: value for key, value in facts.items() if key != _ENVIRONMENT},
                **found,
            }
            result["problems"] += [f"{name}: {problem}" for problem in problems]
            write_atomic(given.out, json.dumps(result, indent=1) + "\n")
            print(f"{name}: {'; '.join(problems) or 'as promised'}", flush=True)
    except HemogatError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{given.out}: {'; '.join(result['problems']) or 'all as promised'}")
    return 1 if result["problems"] else 0


def _settings(given: argparse.Namespace) -> Result:
    return {
        "bundle": given.bundle.name,
        "bundle_sums": sha256_of(given.bundle / SUMS_FILE),
        **{name: getattr(given, name) for name in ("hostile", "http", "valid", "rounds")},
    }


def _result_so_far(out: Path, settings: Result) -> Result:
    if not out.exists():
        return {_SETTINGS: settings, "problems": []}
    try:
        result: Result = json.loads(out.read_text(encoding="utf-8"))
        found = result[_SETTINGS]
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{out}: expected a result of this; remove it, or name another") from error
    if found != settings:
        raise InputError(
            f"{out}: expected a result of {settings}, found {found}; remove it, or name another"
        )
    return result


@contextmanager
def _server(bundle: Path) -> Iterator[TritonServer]:
    settings = RepositorySettings(threads=1, stream_idle_s=_STREAM_IDLE_S)
    with tempfile.TemporaryDirectory() as work:
        models = write_repository(bundle, Path(work) / "models", settings)
        with TritonServer(models, ready_timeout_s=300) as server:
            yield server


def _hostile(given: argparse.Namespace) -> tuple[Result, list[str]]:
    with _server(given.bundle) as server:
        report = run_hostile(server, given.hostile, settle_s=3 * _STREAM_IDLE_S)
        return {"triton": server.server_version(), **report.to_dict()}, problems_of_hostile(report)


def _http(given: argparse.Namespace) -> tuple[Result, list[str]]:
    with _server(given.bundle) as server:
        report = run_http(server, given.http)
    return report.to_dict(), problems_of_http(report)


def _soak(given: argparse.Namespace) -> tuple[Result, list[str]]:
    with _server(given.bundle) as server:
        report = run_soak(server, given.valid)
    return report.to_dict(), problems_of_soak(report)


def _faults(given: argparse.Namespace) -> tuple[Result, list[str]]:
    report = run_faults(given.bundle, given.rounds, _FAULT_ROWS)
    return report.to_dict(), problems_of_faults(report)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hostile", type=int, default=10_000, metavar="REQUESTS")
    parser.add_argument("--http", type=int, default=3_000, metavar="REQUESTS")
    parser.add_argument("--valid", type=int, default=20_000, metavar="REQUESTS")
    parser.add_argument("--rounds", type=int, default=6, metavar="ROUNDS", help="of kills")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
