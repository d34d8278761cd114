"""What a manifest holds, and what of a corpus is not in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from hemogat.cli.output import print_json, print_table, remark

if TYPE_CHECKING:
    from hemogat.data.corpus import Corpus
    from hemogat.data.manifest import Manifest


def report(
    corpus: Corpus,
    manifests: Sequence[Manifest],
    as_json: bool,
    given_ids: Collection[str] | None = None,
    differing: Mapping[str, tuple[str, str]] | None = None,
) -> None:
    """Print what was written, and on standard error warnings and what was not.

    ``given_ids``: the utterances of splits given from outside; what they have and ``corpus`` has
    not is unmatched, the other way round it has no split. ``differing``: utterances whose label in
    these splits' files, named first, is not the corpus's.
    """
    for manifest in manifests:
        for warning in manifest.warnings:
            remark(f"warning: {manifest.path}: {warning}")
    if differing:
        pairs = Counter(differing.values())
        counts = "; ".join(f"{a} there, {b} here: {n}" for (a, b), n in sorted(pairs.items()))
        remark(
            f"warning: {len(differing)} utterances have another label in the splits given "
            f"({counts}); the corpus's own are used"
        )
    here = {utterance.id for utterance in corpus.utterances}
    given = here if given_ids is None else set(given_ids)
    unmatched, unsplit = sorted(given - here), sorted(here - given)
    if as_json:
        print_json(
            {
                "manifests": [_summary(manifest) for manifest in manifests],
                "left_out": dict(corpus.left_out),
                "skipped": list(corpus.bad),
                "unmatched": unmatched,
                "unsplit": unsplit,
                "labels_differ": {name: list(pair) for name, pair in (differing or {}).items()},
            }
        )
        return
    _remark_list("skipped", corpus.bad)
    _remark_list("in the splits given, but no utterances of these labels here", unmatched)
    _remark_list("in none of the splits given, so left out", unsplit)
    if corpus.left_out:
        counts = ", ".join(f"{label} {count}" for label, count in sorted(corpus.left_out.items()))
        remark(f"left out, by label: {counts}")
    for manifest in manifests:
        summary = _summary(manifest)
        typer.echo(
            f"{manifest.path}: {summary['utterances']} utterances, {summary['speakers']} speakers"
        )
        print_counts(manifest)


def print_counts(manifest: Manifest, *, as_remark: bool = False) -> None:
    """Print the number of utterances by split and label; ``as_remark``: on standard error."""
    print_table(
        ("split",),
        (*manifest.labels, "all"),
        (
            (split, *map(str, counts.values()), str(sum(counts.values())))
            for split, counts in manifest.counts().items()
        ),
        as_remark=as_remark,
    )


def _summary(manifest: Manifest) -> dict[str, Any]:
    speakers = {utterance.speaker for utterance in manifest.utterances} - {""}
    return {
        "path": str(manifest.path),
        "utterances": len(manifest.utterances),
        "speakers": len(speakers),
        "counts": manifest.counts(),
        "warnings": list(manifest.warnings),
    }


def _remark_list(title: str, items: Sequence[str]) -> None:
    if items:
        remark(f"{title}: {len(items)}")
        for item in items:
            remark(f"  {item}")
