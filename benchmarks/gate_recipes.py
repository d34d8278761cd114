"""Every export recipe through its gate on one run, and the table of what came of it.

    make demo
    python benchmarks/gate_recipes.py build/demo/run --inputs build/demo/gate/manifest.csv

Each recipe is exported as it is, into a bundle of its own that is thrown away. The result is
written after each, and a second run goes on with the recipes that are missing. The table in
``export/README.md`` is rendered from it at the end, or alone by

    python benchmarks/gate_recipes.py --table
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hemogat.benchmarks.environment import describe_environment
from hemogat.config import Settings, load_settings
from hemogat.errors import IncompleteError
from hemogat.export.bundle_files import run_sha256
from hemogat.export.export_run import export_run
from hemogat.export.parity_gate import RefusedError
from hemogat.export.targets import target_name
from hemogat.export.tensorrt_script import NoPlanError
from hemogat.export_config import ExportConfig
from hemogat.files import write_atomic
from hemogat.progress import Progress
from hemogat.runtime.parity_report import ParityReport
from hemogat.training.run_directory import RunDirectory

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "export"
README = RECIPES / "README.md"
RESULT = ROOT / "benchmarks" / "results" / "gate-demo.json"
_MARKED = re.compile(r"(?<=<!-- gate -->\n).*?(?=<!-- /gate -->)", re.DOTALL)
_OUTCOMES = {
    "passed": "passed",
    "graphs": "graphs passed, no plan here",
    "emulated": "passed, emulated",
    "not judged": "not judged here",
    "refused": "**refused**",
}


class Outcome(Settings):
    """What came of one recipe; ``parity``: None where nothing was compared."""

    recipe: str
    outcome: str  # a key of _OUTCOMES
    message: str | None
    parity: ParityReport | None
    size_bytes: dict[str, int]  # of each graph's own files; the shared bank is not among them


class GateResult(Settings):
    """The committed result."""

    command: str
    created_utc: str
    environment: dict[str, Any]
    run_sha256: str
    outcomes: tuple[Outcome, ...]


def gate_recipe(recipe: Path, run: Path, inputs: Path | None, progress: Progress) -> Outcome:
    """Export ``run`` by ``recipe`` into a bundle that is thrown away; return what came of it."""
    config = load_settings(ExportConfig, recipe)
    message, outcome = None, "passed"
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        parity: ParityReport | None
        try:
            parity = export_run(run, bundle, config, progress, inputs=inputs).parity
            outcome = "passed" if parity.stand_in is None else "emulated"
        except RefusedError as error:
            outcome, message, parity = "refused", str(error), error.parity
        except NoPlanError as error:
            outcome, parity = "graphs", error.parity
        except IncompleteError as error:
            outcome, message, parity = "not judged", str(error), None
        places = bundle.glob(f"*/{target_name(config.engine, config.precision)}")
        sizes = {p.parent.name: sum(f.stat().st_size for f in p.iterdir()) for p in sorted(places)}
        message = None if message is None else message.replace(scratch, "")
    return Outcome(
        recipe=recipe.stem, outcome=outcome, message=message, parity=parity, size_bytes=sizes
    )


def gate_all(run: Path, inputs: Path | None, out: Path) -> GateResult:
    """Run the recipes that ``out`` has not of this run, and write it after each."""
    run_hash = run_sha256(RunDirectory.open(run))
    known = GateResult.model_validate_json(out.read_bytes()) if out.is_file() else None
    done = known.outcomes if known is not None and known.run_sha256 == run_hash else ()
    found = {outcome.recipe: outcome for outcome in done}
    result = known
    for recipe in sorted(RECIPES.glob("*.yaml")):
        if recipe.stem in found:
            continue
        found[recipe.stem] = gate_recipe(recipe, run, inputs, Progress(visible=True))
        result = GateResult(
            command=f"python benchmarks/gate_recipes.py {run}"
            + ("" if inputs is None else f" --inputs {inputs}"),
            created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            environment=describe_environment().model_dump(mode="json"),
            run_sha256=run_hash,
            outcomes=tuple(found[name] for name in sorted(found)),
        )
        write_atomic(out, json.dumps(result.model_dump(mode="json"), indent=1) + "\n")
    assert result is not None
    return result


def table(result: GateResult) -> str:
    """Return the table of a result, as Markdown."""
    lines = [
        "| recipe | outcome | flips | accuracy | UA | max Δ probability | in batches | MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in result.outcomes:
        size = f"{sum(row.size_bytes.values()) / 1e6:.1f}" if row.size_bytes else ""
        cells = [f"`{row.recipe}`", _OUTCOMES[row.outcome], *[""] * 5, size]
        if row.parity is not None and row.parity.rows:
            parity = row.parity
            cells[2:7] = [
                f"{parity.flips} of {parity.decisions:,}",
                f"{100 * parity.accuracy_change:+.2f}",
                f"{100 * parity.ua_change:+.2f}",
                f"{parity.end_to_end.max_abs_diff:.1e}",
                f"{parity.batch_diff:.1e}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def render(text: str, result: GateResult) -> str:
    """Return the README's text with the table of ``result`` between its marks."""
    return _MARKED.sub(lambda _: table(result), text)


def main() -> int:
    """Run the recipes, or render the table alone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--inputs", type=Path, help="manifest of what is compared on")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="render export/README.md alone")
    given = parser.parse_args()
    if (given.run is None) != given.table:
        parser.error("expected RUN, or --table")
    if given.table:
        result = GateResult.model_validate_json(given.out.read_bytes())
    else:
        result = gate_all(given.run, given.inputs, given.out)
    if given.out == RESULT:
        write_atomic(README, render(README.read_text(encoding="utf-8"), result))
    print(table(result), end="")
    return int(any(row.outcome == "refused" for row in result.outcomes))


if __name__ == "__main__":
    sys.exit(main())
