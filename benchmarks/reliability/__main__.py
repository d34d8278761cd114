"""``make soak``: hostile requests, then valid ones, against a server of a bundle; JSON as result.

PYTHONPATH=benchmarks python -m reliability BUNDLE --out build/soak.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hemogat.benchmarks.environment import describe_environment
from hemogat.files import write_atomic
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings
from reliability.hostile_run import ADMITTED, HostileReport, run_hostile
from reliability.valid_run import SoakReport, run_soak

MAX_GROWTH = 0.05
_STREAM_IDLE_S = 5
TOLERANCE = 1e-6  # concurrent requests batch in other ways, whose sums differ in the last bits


def main() -> int:
    """Run both; return 0 if nothing went wrong."""
    arguments = _arguments()
    result: dict[str, Any] = {
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "bundle": arguments.bundle.name,
        "environment": describe_environment().model_dump(mode="json"),
        "problems": [],
    }
    with tempfile.TemporaryDirectory() as work:
        settings = RepositorySettings(threads=1, stream_idle_s=_STREAM_IDLE_S)
        models = write_repository(arguments.bundle, Path(work) / "models", settings)
        with TritonServer(models, ready_timeout_s=300) as server:
            result["triton"] = server.server_version()
            hostile = run_hostile(server, arguments.hostile, settle_s=3 * _STREAM_IDLE_S)
        result["hostile"] = hostile.to_dict()
        result["problems"] += problems_of_hostile(hostile)
        _write(arguments.out, result)
        with TritonServer(models, ready_timeout_s=300) as server:
            soak = run_soak(server, arguments.valid)
        result["soak"] = soak.to_dict()
        result["problems"] += problems_of_soak(soak)
        _write(arguments.out, result)
    print(f"{arguments.out}: {'; '.join(result['problems']) or 'all as promised'}")
    return 1 if result["problems"] else 0


def _write(out: Path, result: dict[str, Any]) -> None:
    write_atomic(out, json.dumps(result, indent=1) + "\n")


def problems_of_hostile(report: HostileReport, max_growth: float = MAX_GROWTH) -> list[str]:
    """Say what is not as promised."""
    found = [f"unexpected answer: {text}" for text in report.outcome.unexpected]
    for kind, statuses in report.outcome.statuses.items():
        found += [f"{kind}: {count} x {s}" for s, count in statuses.items() if s not in ADMITTED]
    if report.outcome.wrong_after:
        found.append(f"{report.outcome.wrong_after} valid requests were answered wrongly")
    if report.before.processes != report.after.processes:
        found.append("a process ended")
    growth = report.before.growth_to(report.after)
    return found + [f"{name} grew by {g:.1%}" for name, g in growth.items() if g > max_growth]


def problems_of_soak(report: SoakReport, max_growth: float = MAX_GROWTH) -> list[str]:
    """Say what is not as promised."""
    found = report.errors[:20]
    if report.largest > TOLERANCE:
        found.append(f"answers differ from the first pass by up to {report.largest:.2g}")
    if report.before.processes != report.after.processes:
        found.append("a process ended")
    growth = report.before.growth_to(report.after)
    return found + [f"{name} grew by {g:.1%}" for name, g in growth.items() if g > max_growth]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hostile", type=int, default=10_000, metavar="REQUESTS")
    parser.add_argument("--valid", type=int, default=20_000, metavar="REQUESTS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
