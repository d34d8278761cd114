"""``hemogat bank``: look into a bundle's bank, add rows, keep the most useful ones, index it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemogat.cli.extras import needs
from hemogat.cli.output import JsonOption, percent, print_facts, print_json, remark, size
from hemogat.optional import require

if TYPE_CHECKING:
    from hemogat.runtime.bundle import Bundle

app = typer.Typer()

BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")]
OutOption = Annotated[Path, typer.Option(help="Bundle to write; must not exist.")]


@app.callback()
def bank() -> None:
    """Show or change the bank of utterances that a bundle takes neighbours from."""


@app.command()
def info(bundle: BundleArgument, as_json: JsonOption = False) -> None:
    """Show what the bank holds."""
    from hemogat.cli.bundle_facts import index_lines
    from hemogat.runtime.bundle import Bundle

    opened = Bundle.open(bundle)
    facts = _facts(opened)
    if as_json:
        print_json(facts)
        return
    labels = ", ".join(f"{label} {count}" for label, count in facts["labels"].items())
    print_facts(
        {
            "rows": f"{facts['rows']}",
            "labels": labels,
            "with audio": f"{facts['with_audio']}, {facts['k_audio']} of them neighbours",
            "with text": f"{facts['with_text']}, {facts['k_text']} of them neighbours",
            "embeddings": size(facts["embeddings_bytes"]),
            "states": size(facts["states_bytes"]),
            "searched": size(facts["tables_bytes"]),
            "search auto": facts["search_auto"] or "inside the graph",
            "index for ivf": "\n".join(index_lines(opened)),
            "can be extended": "yes" if facts["can_be_extended"] else "no, export the run again",
            "changes": "\n".join(facts["changes"]) or "none",
        }
    )


@app.command()
def add(
    bundle: BundleArgument,
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Labelled utterances.")],
    out: OutOption,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle with new utterances in its bank; nothing is trained.

    Every row of the manifest is added, whatever its split. TensorRT plans,
    which hold the old bank, are left out.
    """
    from hemogat.progress import Progress
    from hemogat.runtime.bundle import Bundle

    with needs("export"):
        from hemogat.export.bank_rows import add_rows, repeated_rows

    opened = Bundle.open(bundle)
    written = add_rows(opened, manifest, out, Progress(visible=True))
    repeated = repeated_rows(written, opened.manifest.bank.rows)
    if repeated:
        added = written.manifest.bank.rows - opened.manifest.bank.rows
        remark(f"{repeated} of {added} new rows repeat one that is in the bank already; they count "
               f"twice as neighbours")  # fmt: skip
    _report(opened, written, {"repeated": repeated}, as_json)


@app.command()
def prune(
    bundle: BundleArgument,
    to: Annotated[int, typer.Option(min=1, help="Rows to keep.")],
    out: OutOption,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Measure the effect on its val and test rows.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle with the most useful rows of its bank, and say what that does.

    Useful rows are those that are neighbours of most other rows; every label
    keeps its share. Rows of the old bank are classified before and after, each
    without itself among its neighbours. TensorRT plans, which hold the old
    bank, are left out.
    """
    from hemogat.progress import Progress
    from hemogat.runtime.bundle import Bundle

    with needs("export"):
        from hemogat.export.bank_effect import (
            bank_effect,
            effect_on_golden,
            effect_on_rows,
            rows_to_ask,
        )
        from hemogat.export.bank_rows import prune as prune_bank

    opened = Bundle.open(bundle)
    # What would fail once the bundle is written fails before.
    require("onnxruntime", extra="cpu")
    asked = None if manifest is None else rows_to_ask(opened, manifest)
    written = prune_bank(opened, to, out)
    cases, changed = effect_on_golden(opened, written)
    on_rows = effect_on_rows(opened, written, Progress(visible=True))
    found = {
        "golden": {"cases": cases, "changed": changed},
        "bank_rows": None if on_rows is None else asdict(on_rows),
        "effect": None if asked is None else asdict(bank_effect(opened, written, asked)),
    }
    _report(opened, written, found, as_json)


@app.command()
def index(bundle: BundleArgument, out: OutOption, as_json: JsonOption = False) -> None:
    """Write a bundle with a stored index of its bank, for --search ivf.

    Without, the index is built whenever the bundle is loaded. What it finds is
    measured beside an exact search.
    """
    from hemogat.cli.bundle_facts import index_lines
    from hemogat.runtime.bundle import Bundle

    with needs("export"):
        from hemogat.export.bank_index import add_index

    written = add_index(Bundle.open(bundle), out)
    if as_json:
        print_json({"bundle": str(written.path), "ivf": _index_facts(written)})
        return
    typer.echo(f"bundle: {written.path}")
    for line in index_lines(written):
        typer.echo(line)


def _index_facts(bundle: Bundle) -> dict[str, Any] | None:
    index = bundle.manifest.bank.ivf
    return None if index is None else index.model_dump(mode="json")


def _report(old: Bundle, new: Bundle, effect: dict[str, Any], as_json: bool) -> None:
    from hemogat.cli.bundle_facts import remark_lost_index

    if len(new.manifest.models) < len(old.manifest.models):
        remark("TensorRT plans hold the old bank and were left out")
    remark_lost_index(old.manifest, new.manifest)
    rows = (old.manifest.bank.rows, new.manifest.bank.rows)
    if as_json:
        print_json({"bundle": str(new.path), "rows": rows[1], "before": rows[0], **effect})
        return
    typer.echo(f"bundle: {new.path}")
    typer.echo(f"rows: {rows[0]} before, {rows[1]} now")
    if "golden" in effect:
        golden = effect["golden"]
        typer.echo(f"golden cases decided otherwise: {golden['changed']} of {golden['cases']}")
    _say("rows of the old bank, each without itself", effect.get("bank_rows"))
    _say("the manifest's val and test rows", effect.get("effect"))


def _say(who: str, effect: dict[str, Any] | None) -> None:
    if effect is None:
        return
    typer.echo(f"{who}:")
    for name in ("accuracy", "unweighted_accuracy"):
        before, after = effect[name]
        words = name.replace("_", " ")
        typer.echo(f"  {words}: {percent(before)} before, {percent(after)} now, %")
    typer.echo(f"  decisions changed: {effect['changed_decisions']} of {effect['utterances']}")


def _facts(bundle: Bundle) -> dict[str, Any]:
    from hemogat.runtime.bank_tensors import map_tensors
    from hemogat.runtime.gather_session import search_outside

    manifest = bundle.manifest
    tensors = map_tensors(bundle.path / manifest.bank.tensors)
    counts = Counter(bundle.bank_index.labels)

    def bytes_of(*prefixes: str) -> int:
        return sum(t.nbytes for name, t in tensors.items() if name.startswith(prefixes))

    tables = bytes_of("audio_table", "text_table", "audio_rows", "text_rows")
    return {
        "rows": manifest.bank.rows,
        "labels": {label: counts[label] for label in manifest.labels},
        "with_audio": int(tensors["present"][:, 0].sum()),
        "with_text": int(tensors["present"][:, 1].sum()),
        "k_audio": manifest.graph.k_audio,
        "k_text": manifest.graph.k_text,
        "embeddings_bytes": bytes_of("audio", "text") - tables,
        "states_bytes": bytes_of("states_"),
        "tables_bytes": tables,
        "search_auto": search_outside(bundle, *bundle.select(), "auto"),
        "ivf": _index_facts(bundle),
        "can_be_extended": manifest.bank.states is not None or not manifest.slots,
        "changes": list(manifest.provenance.bank_changes),
    }
