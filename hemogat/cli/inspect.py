"""``hemogat inspect``: what is in a bundle, and whether it answers here as it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemogat.cli.output import JsonOption, print_facts, print_json, size

if TYPE_CHECKING:
    from hemogat.runtime.bundle import Bundle
    from hemogat.runtime.parity_report import ParityFile


def inspect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    check: Annotated[
        bool,
        typer.Option(
            "--verify", "--check", help="Run the golden cases in every engine and compare answers."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle holds, once the hashes of all its files are verified.

    Engines that were exported without being judged are not run.
    """
    from hemogat.cli.bundle_facts import folder_bytes, model_bytes
    from hemogat.runtime.bundle import Bundle
    from hemogat.runtime.parity_report import read_parity

    opened = Bundle.open(bundle)
    parity = read_parity(opened)
    golden_max_abs_diff = _check(opened, parity) if check else None
    models_bytes = [model_bytes(opened, model.path) for model in opened.manifest.models]
    total_bytes = folder_bytes(bundle)
    if not as_json:
        facts = _facts(opened, models_bytes, total_bytes, golden_max_abs_diff)
        print_facts(facts | {"parity": "\n".join(_parity_lines(parity))})
        return
    manifest = opened.manifest.model_dump(mode="json")
    for model, count in zip(manifest["models"], models_bytes, strict=True):
        model["size_bytes"] = count
    print_json(
        {
            "path": str(bundle),
            **manifest,
            "parity": parity.model_dump(mode="json")["reports"],
            "size_bytes": total_bytes,
            "accepts_missing_modality": opened.manifest.accepts_missing_modality,
            "golden_max_abs_diff": golden_max_abs_diff,
        }
    )


def _check(bundle: Bundle, parity: ParityFile) -> dict[str, float]:
    """Run the golden cases in every engine that was judged; return the largest differences."""
    from hemogat.runtime.golden import check_golden
    from hemogat.runtime.pipeline import Pipeline

    engines = dict.fromkeys((m.engine, m.precision) for m in bundle.manifest.models)
    return {
        f"{engine}-{precision}": check_golden(Pipeline(bundle, engine=engine, precision=precision))
        for engine, precision in engines
        if parity.reports[f"{engine}-{precision}"].rows
    }


def _parity_lines(parity: ParityFile) -> Iterator[str]:
    for target, report in parity.reports.items():
        if report.rows:
            gap = report.end_to_end
            yield (
                f"{target}: {report.flips_in_words()}, probabilities within "
                f"{gap.max_abs_diff:.1e}, UA {100 * report.ua_change:+.2f} points"
            )
            for row in report.searches:
                yield f"{target}, search {row.mode}: {row.flips} flipped, recall {row.recall:.4f}"
        if report.ungated is not None:
            yield f"{target}: not judged: {report.ungated}"


def _facts(
    bundle: Bundle, models_bytes: list[int], total_bytes: int, golden: dict[str, float] | None
) -> dict[str, str]:
    manifest = bundle.manifest
    head, graph, dims = manifest.head, manifest.graph, manifest.dims
    neighbours = f"{graph.k_audio} by audio, {graph.k_text} by text, from {manifest.bank.rows} rows"
    facts = {
        "bundle": f"{manifest.name} ({bundle.path}, {size(total_bytes)}, hashes verified)",
        "labels": ", ".join(manifest.labels),
        "reads": " and ".join(manifest.modalities)
        + (", one may be missing" if manifest.accepts_missing_modality else ""),
        "embeddings": f"audio {dims.audio}, text {dims.text}",
        "neighbours": neighbours if manifest.slots else "none",
        "head": f"{head.modules}, {head.num_layers} layers, hidden {head.hidden}, "
        f"{head.heads} heads",
        "text": f"at most {manifest.text.max_tokens} tokens, {manifest.text.pooling} pooling",
        "audio": f"{manifest.audio.min_audio_s:g} to {manifest.audio.max_audio_s:g} s",
        "models": "\n".join(
            f"{model.graph} {model.engine}-{model.precision}, {size(count)}"
            for model, count in zip(manifest.models, models_bytes, strict=True)
        ),
        "made": f"{manifest.provenance.created_utc}, seed {manifest.provenance.seed}",
        "with": "\n".join(f"{p} {v}" for p, v in manifest.provenance.versions.items()),
    }
    if golden is not None:
        facts["golden cases"] = "\n".join(
            f"answered by {target} as expected, within {difference:.1e}"
            for target, difference in golden.items()
        )
    return facts
