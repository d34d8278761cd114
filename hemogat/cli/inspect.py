"""``hemogat inspect``: what is in a bundle, and whether it answers here as it should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hemogat.cli.output import JsonOption, RunOnOption, print_facts, print_json, size
from hemogat.errors import IncompleteError

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
    device: RunOnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle holds, once the hashes of all its files are verified.

    With --verify, plans that were built after the export are run too. Engines
    that cannot run here are named, and the command exits with 3.
    """
    from hemogat.cli.bundle_facts import folder_bytes, model_bytes
    from hemogat.runtime.bundle import Bundle
    from hemogat.runtime.parity_report import read_parity

    opened = Bundle.open(bundle)
    parity = read_parity(opened)
    checked = _check(opened, device) if check else None
    models_bytes = [model_bytes(opened, model.path) for model in opened.manifest.models]
    total_bytes = folder_bytes(bundle)
    if not as_json:
        facts = _facts(opened, models_bytes, total_bytes)
        facts["parity"] = "\n".join(_parity_lines(opened, parity))
        if checked is not None:
            facts["golden cases"] = "\n".join(checked.lines())
        print_facts(facts)
    else:
        print_json(_as_json(opened, models_bytes, total_bytes, parity, checked))
    if checked is not None and checked.not_run:
        raise IncompleteError(f"not verified here: {'; '.join(checked.not_run.values())}")


@dataclass(frozen=True)
class _Checked:
    """How far answers to the golden cases are off, by engine, and why some engines did not run."""

    max_abs_diff: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        for target, difference in self.max_abs_diff.items():
            yield f"answered by {target} as expected, within {difference:.1e}"
        for target in self.not_run:
            yield f"not run here: {target}"


def _as_json(
    bundle: Bundle,
    models_bytes: list[int],
    total_bytes: int,
    parity: ParityFile,
    checked: _Checked | None,
) -> dict[str, Any]:
    manifest = bundle.manifest.model_dump(mode="json")
    for model, count in zip(manifest["models"], models_bytes, strict=True):
        model["size_bytes"] = count
    return {
        "path": str(bundle.path),
        **manifest,
        "parity": parity.model_dump(mode="json")["reports"],
        "tensors": {
            spec.name: {
                direction: {
                    t.name: {"dtype": t.dtype, "shape": list(bundle.manifest.shape(t))}
                    for t in tensors
                }
                for direction, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs))
            }
            for spec in bundle.manifest.graphs
        },
        "size_bytes": total_bytes,
        "accepts_missing_modality": bundle.manifest.accepts_missing_modality,
        "golden_max_abs_diff": None if checked is None else checked.max_abs_diff,
        "golden_not_run": None if checked is None else checked.not_run,
    }


def _check(bundle: Bundle, device: str | None) -> _Checked:
    """Run the golden cases in every engine that can run here."""
    from hemogat.runtime.golden import check_golden
    from hemogat.runtime.pipeline import Pipeline

    checked = _Checked()
    for engine, precision in dict.fromkeys((m.engine, m.precision) for m in bundle.manifest.models):
        target = f"{engine}-{precision}"
        try:
            pipeline = Pipeline(
                bundle,
                engine=engine,
                precision=precision,
                # What suits one engine is refused by another.
                device=None
                if (engine, device) == ("trt", "cpu") or engine == "openvino"
                else device,
            )
        except IncompleteError as error:
            checked.not_run[target] = f"{target}: {error}"
            continue
        checked.max_abs_diff[target] = check_golden(pipeline)
    return checked


def _parity_lines(bundle: Bundle, parity: ParityFile) -> Iterator[str]:
    for target in dict.fromkeys(f"{m.engine}-{m.precision}" for m in bundle.manifest.models):
        if target not in parity.reports:
            yield f"{target}: never compared"
    for target, report in parity.reports.items():
        if report.ungated is not None:
            yield f"{target}: not judged: {report.ungated}"
        if report.rows:
            gap = report.end_to_end
            yield (
                f"{target}: {report.flips_in_words()}, probabilities within "
                f"{gap.max_abs_diff:.1e}, UA {100 * report.ua_change:+.2f} points, accuracy "
                f"{100 * report.accuracy_change:+.2f}"
            )
            if report.stand_in is not None:
                yield f"{target}: itself not compared, but {report.stand_in}"
            for row in report.searches:
                yield f"{target}, search {row.mode}: {row.flips} flipped, recall {row.recall:.4f}"


def _tensor_lines(bundle: Bundle) -> Iterator[str]:
    for spec in bundle.manifest.graphs:
        for direction, tensors in (("in", spec.inputs), ("out", spec.outputs)):
            for tensor in tensors:
                shape = ", ".join(map(str, bundle.manifest.shape(tensor)))
                yield f"{spec.name} {direction}  {tensor.name} {tensor.dtype} [{shape}]"


def _facts(bundle: Bundle, models_bytes: list[int], total_bytes: int) -> dict[str, str]:
    from hemogat.cli.bundle_facts import index_lines

    manifest = bundle.manifest
    head, graph, dims = manifest.head, manifest.graph, manifest.dims
    neighbours = f"{graph.k_audio} by audio, {graph.k_text} by text, from {manifest.bank.rows} rows"
    return {
        "bundle": f"{manifest.name} ({bundle.path}, {size(total_bytes)}, hashes verified)",
        "labels": ", ".join(manifest.labels),
        "reads": " and ".join(manifest.modalities)
        + (", one may be missing" if manifest.accepts_missing_modality else ""),
        "embeddings": f"audio {dims.audio}, text {dims.text}",
        "neighbours": neighbours if manifest.slots else "none",
        **({} if manifest.bank.ivf is None else {"bank index": "\n".join(index_lines(bundle))}),
        "head": f"{head.modules}, {head.num_layers} layers, hidden {head.hidden}, "
        f"{head.heads} heads",
        "text": f"at most {manifest.text.max_tokens} tokens, {manifest.text.pooling} pooling",
        "audio": f"{manifest.audio.min_audio_s:g} to {manifest.audio.max_audio_s:g} s",
        "models": "\n".join(
            f"{model.graph} {model.engine}-{model.precision}, {size(count)}"
            for model, count in zip(manifest.models, models_bytes, strict=True)
        ),
        "tensors": "\n".join(_tensor_lines(bundle)),
        "made": f"{manifest.provenance.created_utc}, seed {manifest.provenance.seed}",
        "with": "\n".join(f"{p} {v}" for p, v in manifest.provenance.versions.items()),
    }
