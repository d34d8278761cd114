"""Golden cases: a few real inputs in the bundle with the reference's answers.

They let whoever receives a bundle see, without the training data and without torch, that it
answers here as it did where it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from hemogat.config import PositiveFloat, Settings
from hemogat.errors import BundleError, ParityError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.bundle_sums import InnerPath
from hemogat.runtime.pipeline import Pipeline


class GoldenRecord(Settings):
    """One case as stored; ``audio`` is a file beside the record."""

    audio: InnerPath | None
    text: str | None
    label: str
    probabilities: tuple[float, ...]


class GoldenFile(Settings):
    """``golden/golden.json``: the cases, and how far answers may be from the reference's.

    ``own``: engines below fp32, by names such as onnx-int8, may differ from the reference by more;
    they are held to what they answered themselves when they were exported, within
    ``own_max_abs_diff``: processors differ in how they sum up.
    """

    max_abs_diff: PositiveFloat
    cases: tuple[GoldenRecord, ...]
    own: dict[str, tuple[tuple[float, ...], ...]] = Field(default_factory=dict)
    own_max_abs_diff: PositiveFloat = 0.02


@dataclass(frozen=True)
class GoldenCase:
    """One case, ready to send; probabilities in the order of the bundle's labels."""

    audio: Path | None
    text: str | None
    label: str
    probabilities: tuple[float, ...]


def read_golden(bundle: Bundle) -> GoldenFile:
    """Read the bundle's golden file.

    Raises:
        BundleError: it cannot be read, or does not fit the bundle's labels.
    """
    golden = bundle.read(GoldenFile, bundle.manifest.golden)
    labels = bundle.manifest.labels
    answers = [case.probabilities for case in golden.cases]
    fits = all(case.label in labels for case in golden.cases)
    for own in golden.own.values():
        fits = fits and len(own) == len(golden.cases)
        answers += own
    if not fits or any(len(answer) != len(labels) for answer in answers):
        raise BundleError(
            f"{bundle.path / bundle.manifest.golden}: expected one of the labels "
            f"{', '.join(labels)} and a probability of each, for every case; export the bundle "
            f"again"
        )
    return golden


def golden_cases(bundle: Bundle) -> tuple[GoldenCase, ...]:
    """Return the bundle's golden cases, audio as paths that can be opened."""
    folder = (bundle.path / bundle.manifest.golden).parent
    return tuple(
        GoldenCase(
            None if case.audio is None else folder / case.audio,
            case.text,
            case.label,
            case.probabilities,
        )
        for case in read_golden(bundle).cases
    )


def check_golden(pipeline: Pipeline) -> float:
    """Run the golden cases; return the largest difference of a probability.

    Raises:
        ParityError: a label differs, or a probability by more than the bundle allows.
    """
    golden = read_golden(pipeline.bundle)
    own = golden.own.get(f"{pipeline.engine}-{pipeline.precision}")
    exact = pipeline.precision == "fp32"
    allowed = golden.max_abs_diff if exact else golden.own_max_abs_diff
    largest = 0.0
    for number, case in enumerate(golden_cases(pipeline.bundle)):
        expected = case.probabilities if own is None else own[number]
        label = case.label if own is None else pipeline.labels[int(np.argmax(expected))]
        found = pipeline(case.audio, case.text)
        difference = float(np.abs(np.subtract(list(found.probabilities.values()), expected)).max())
        if found.label != label or not difference <= allowed:  # also true of NaN
            raise ParityError(
                f"{pipeline.bundle.path}: golden case {number}: expected {label} within "
                f"{allowed:g}, found {found.label}, {difference:.2g} off; this machine or its "
                f"libraries do not run the bundle as it was made"
            )
        largest = max(largest, difference)
    return largest
