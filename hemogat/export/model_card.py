"""MODEL_CARD.md: what a bundle is, how well it does, and where that stops."""

from __future__ import annotations

from hemogat.runtime.bundle import BundleManifest
from hemogat.runtime.parity_report import ParityFile, ParityReport
from hemogat.training.evaluation_record import Evaluation
from hemogat.training.evaluation_tables import (
    graph_gain_lines,
    per_class_table,
    recognition_table,
    seeds_sentence,
    skipped_lines,
)


def model_card(manifest: BundleManifest, parity: ParityFile, metrics: Evaluation) -> str:
    """Return the card as Markdown; every number in it was measured in this export."""
    needs = (
        "either modality may be missing"
        if manifest.accepts_missing_modality
        else f"needs {' and '.join(manifest.modalities)}"
    )
    lines = [
        f"# {manifest.name}",
        "",
        f"HemoGAT speech emotion recognition: {', '.join(manifest.labels)}.",
        "",
        f"- Input: {needs}; audio up to {manifest.audio.max_audio_s:g} s, text up to "
        f"{manifest.text.max_tokens} tokens.",
        f"- Neighbours: {manifest.graph.k_audio} by audio, {manifest.graph.k_text} by text, from "
        f"a frozen bank of {manifest.bank.rows} training utterances.",
        f"- Made {manifest.provenance.created_utc}, seed {manifest.provenance.seed}.",
        "",
        f"## Accuracy on the {metrics.split} split, %",
        "",
        *recognition_table(metrics),
        "",
        f"{seeds_sentence(metrics)} The first row is what this bundle serves, with seed "
        f"{metrics.best_seed}. `no_gnn`, `audio_only` and `text_only` are controls: heads without "
        "the graph, or on one modality.",
        "",
        *_section("What the graph adds", graph_gain_lines(metrics)),
        *_section("By label, what is served, %", per_class_table(metrics)),
        *_section("Left out of training and evaluation, unreadable", skipped_lines(metrics)),
        "## Parity with the torch reference",
        "",
        *(f"- {target}: {_parity(report)}" for target, report in parity.reports.items()),
        "",
        "## Limits",
        "",
        "The model knows only the speakers, languages, recording conditions and labels of its "
        "training data. Its output is a guess about how speech sounds and reads, not a fact about "
        "what a person feels.",
        "",
    ]
    return "\n".join(lines)


def _parity(report: ParityReport) -> str:
    if not report.rows:
        return f"not judged: {report.ungated}."
    gap = report.end_to_end
    return (
        ("" if report.ungated is None else f"not judged: {report.ungated}; ")
        + f"over {report.utterances} utterances {report.flips_in_words()}, probabilities within "
        f"{gap.max_abs_diff:.2g}, accuracy {100 * report.accuracy_change:+.2f} points."
        + "".join(
            f" Bank searched outside the graph ({row.mode}): {row.flips} flipped, recall "
            f"{row.recall:.4f}."
            for row in report.searches
        )
        + ("" if report.stand_in is None else f" Compared were {report.stand_in}.")
        + ("" if report.enough_for_rates else " Too few utterances to speak of a rate.")
    )


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []
