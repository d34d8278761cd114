from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_dynamic

from hemogat.data.manifest import read_manifest
from hemogat.errors import InputError, ParityError
from hemogat.export.parity import (
    Reference,
    ReferenceAnswers,
    compare,
    reference_answers,
)
from hemogat.export.parity_gate import gate
from hemogat.export_config import ExportConfig, ParityConfig
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.progress import Progress
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.parity_report import ParityReport, ParityRow
from hemogat.runtime.pipeline import Pipeline
from hemogat.training.preparation import PreparedRow, prepare_rows
from hemogat.training.run_directory import RunDirectory

Change = Callable[[NDArray[Any]], NDArray[Any]]
LIMITS = ParityConfig()
SILENT = Progress()


@pytest.fixture(scope="module")
def rows(tiny_run: Path, tiny_manifest: Path) -> list[PreparedRow]:
    run = RunDirectory.open(tiny_run)
    utterances = read_manifest(tiny_manifest).split("test")
    return prepare_rows(utterances, run.record.recipe, run.tokenizer_path, SILENT)


def reference_of(run_path: Path) -> Reference:
    run = RunDirectory.open(run_path)
    graph = run.record.recipe.graph
    bank = freeze_bank(run.head(), run.features("train").embeddings, graph)
    head = InductiveHead(run.head(), bank, graph).eval()
    return Reference(run.audio_encoder(), run.text_encoder(), head)


@pytest.fixture(scope="module")
def expected(tiny_run: Path, rows: list[PreparedRow]) -> ReferenceAnswers:
    return reference_answers(reference_of(tiny_run), rows, 16_000, SILENT)


def parity(bundle: Path, rows: list[PreparedRow], expected: ReferenceAnswers) -> ParityReport:
    pipeline = Pipeline(Bundle.open(bundle, verify=False))
    return compare(pipeline, rows, expected, LIMITS, SILENT)


def test_a_true_export_passes(
    tiny_bundle: Path, rows: list[PreparedRow], expected: ReferenceAnswers
) -> None:
    report = parity(tiny_bundle, rows, expected)
    gate(report)
    assert report.utterances == 12
    assert not report.enough_for_rates
    compared = {(row.graph, row.output): row for row in report.rows}
    assert set(compared) == {
        ("audio_encoder", "audio_embedding"),
        ("text_encoder", "text_embedding"),
        ("fusion", "logits"),
        ("fusion", "probabilities"),
        ("fusion", "similarities"),
        ("fusion without audio", "logits"),
        ("fusion without audio", "probabilities"),
        ("fusion without audio", "similarities"),
        ("fusion without text", "logits"),
        ("fusion without text", "probabilities"),
        ("fusion without text", "similarities"),
        ("end_to_end", "probabilities"),
        ("end_to_end without audio", "probabilities"),
        ("end_to_end without text", "probabilities"),
    }
    assert report.end_to_end == compared["end_to_end", "probabilities"]
    for (_, output), row in compared.items():
        assert row.max_abs_diff < 1e-5
        assert row.min_cosine > 0.99999
        decides = output in ("logits", "probabilities")
        assert (row.flips, row.decisions) == ((0, 12) if decides else (None, None))
    assert report.decisions == 36
    assert report.flips_in_words() == (
        "0 of 36 decisions flipped (all inputs 0, without audio 0, without text 0)"
    )


def test_hidden_inputs_are_judged_where_both_are_there(
    tiny_run: Path, tiny_bundle: Path, rows: list[PreparedRow]
) -> None:
    some = [replace(rows[0], tokens=None), replace(rows[1], samples=None), *rows[2:5]]
    answers = reference_answers(reference_of(tiny_run), some, 16_000, SILENT)
    report = parity(tiny_bundle, some, answers)
    gate(report)
    assert [row.decisions for row in report.ways] == [5, 3, 3]
    lone = parity(tiny_bundle, some[:2], answers_for(answers, 2))
    assert [row.decisions for row in lone.ways] == [2]
    assert lone.flips_in_words() == "0 of 2 decisions flipped"


def answers_for(answers: ReferenceAnswers, count: int) -> ReferenceAnswers:
    return ReferenceAnswers(
        answers.embeddings[:count],
        answers.logits[:count],
        answers.probabilities[:count],
        answers.similarities[:count],
        {modality: answers_for(hidden, count) for modality, hidden in answers.hidden.items()},
    )


def raised(value: NDArray[Any]) -> NDArray[Any]:
    value.flat[0] += 2
    return value


def not_a_number(value: NDArray[Any]) -> NDArray[Any]:
    value.flat[0] = np.nan
    return value


@pytest.mark.parametrize("change", [raised, not_a_number])
@pytest.mark.parametrize(
    ("graph", "weight", "where"),
    [
        ("fusion", "mlp.0.weight", "fusion logits"),
        ("fusion", "states_2", "fusion logits"),
        ("fusion", "missing.text", "fusion without text logits"),
        ("audio_encoder", "pos_conv_embed.conv.bias", "audio_encoder audio_embedding"),
        ("text_encoder", "embeddings.LayerNorm.bias", "text_encoder text_embedding"),
    ],
)
def test_one_changed_weight_is_noticed(
    graph: str,
    weight: str,
    where: str,
    change: Change,
    tiny_bundle: Path,
    tmp_path: Path,
    rows: list[PreparedRow],
    expected: ReferenceAnswers,
    change_weight: Callable[[Path, str, Change], None],
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    change_weight(bundle / graph / "onnx-fp32" / "model.onnx", weight, change)
    with pytest.raises(ParityError, match=f"^{where} over 12 utterances: expected within 0.0001"):
        gate(parity(bundle, rows, expected))


def test_one_changed_weight_of_the_reference_is_noticed(
    tiny_run: Path, tiny_bundle: Path, rows: list[PreparedRow]
) -> None:
    reference = reference_of(tiny_run)
    with torch.no_grad():
        reference.head.head.mlp[0].weight[0] += 0.5
    answers = reference_answers(reference, rows, 16_000, SILENT)
    with pytest.raises(ParityError, match="fusion logits"):
        gate(parity(tiny_bundle, rows, answers))


def test_accuracy_and_unweighted_accuracy_are_told_apart(
    tiny_bundle: Path, rows: list[PreparedRow], expected: ReferenceAnswers
) -> None:
    # Of a reference that decides otherwise for one utterance, rightly: the engine gets it wrong.
    probabilities = expected.probabilities.copy()
    probabilities[0] = np.roll(probabilities[0], 1)
    decided = expected.probabilities.argmax(axis=1)
    labelled = [replace(row, label=int(label)) for row, label in zip(rows, decided, strict=True)]
    right = int(probabilities[0].argmax())
    labelled[0] = replace(labelled[0], label=right)
    report = parity(tiny_bundle, labelled, replace(expected, probabilities=probabilities))
    share = sum(row.label == right for row in labelled)
    assert report.accuracy_change == pytest.approx(-1 / 12)
    labels = {row.label for row in labelled}
    assert report.ua_change == pytest.approx(-1 / share / len(labels))


def test_nothing_to_compare_on_is_refused(tiny_bundle: Path, expected: ReferenceAnswers) -> None:
    with pytest.raises(InputError, match="expected utterances to compare on"):
        parity(tiny_bundle, [], expected)


def test_neither_all_inputs_nor_all_ways_hide_behind_the_other() -> None:
    def way(graph: str, flips: int) -> ParityRow:
        return ParityRow(
            graph=graph, output="p", max_abs_diff=0.1, min_cosine=1, flips=flips, decisions=400
        )

    def report(both: int, no_audio: int, no_text: int) -> ParityReport:
        return ParityReport(
            utterances=400,
            enough_for_rates=True,
            limits=ExportConfig(precision="int8").limits,
            rows=(
                way("end_to_end", both),
                way("end_to_end without audio", no_audio),
                way("end_to_end without text", no_text),
            ),
        )

    for flips in ((4, 4, 4), (0, 5, 7), (3, 9, 0)):
        gate(report(*flips))
    with pytest.raises(ParityError, match=r"400 utterances: .* at most 4 flip.*, found 5"):
        gate(report(5, 0, 0))
    for flips in ((4, 5, 4), (0, 13, 0), (0, 0, 13)):
        message = r"over 1200 decisions in 3 ways: .* at most 12 flip.*, found 13"
        with pytest.raises(ParityError, match=message):
            gate(report(*flips))


def report_with(**row: Any) -> ParityReport:
    good = {"graph": "fusion", "output": "logits", "max_abs_diff": 0.0, "min_cosine": 1.0}
    return ParityReport(
        utterances=3,
        enough_for_rates=False,
        limits=LIMITS,
        rows=(ParityRow.model_validate(good), ParityRow.model_validate(good | row)),
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"max_abs_diff": 1.1e-4}, "expected within 0.0001 of the torch reference, found 0.00011"),
        ({"max_abs_diff": float("nan")}, "found nan off"),
        ({"max_abs_diff": float("inf")}, "found inf off"),
        ({"min_cosine": 0.99}, "expected a cosine of at least 0.9999, found 0.990000"),
        ({"min_cosine": float("nan")}, "found nan"),
        ({"flips": 1}, "expected at most 0 flipped decisions, found 1"),
    ],
)
def test_what_the_gate_refuses(row: dict[str, float], message: str) -> None:
    with pytest.raises(ParityError, match=message):
        gate(report_with(**row))


@pytest.mark.parametrize("row", [{}, {"max_abs_diff": 1e-4}, {"min_cosine": 0.9999}, {"flips": 0}])
def test_what_the_gate_lets_pass(row: dict[str, float]) -> None:
    gate(report_with(**row))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"batch_diff": 1.1e-5}, "alone and in batches within 1e-05, found 1.1e-05 off"),
        ({"batch_diff": float("nan")}, "alone and in batches within 1e-05, found nan off"),
        ({"batch_embedding_diff": 2e-4}, "within 0.0001 of its largest number, found 0.0002"),
        ({"ua_change": 0.0051}, r"change by at most 0.5 points, found \+0.51"),
        ({"ua_change": -0.0051}, "change by at most 0.5 points, found -0.51"),
        ({"ua_change": float("nan")}, "change by at most 0.5 points"),
    ],
)
def test_what_the_gate_refuses_of_all_answers(found: dict[str, float], message: str) -> None:
    report = report_with().model_copy(update={"limits": ExportConfig(precision="int8").limits})
    gate(report)
    with pytest.raises(ParityError, match=message):
        gate(report.model_copy(update=found))


@pytest.mark.parametrize("encoder", ["audio_encoder", "text_encoder"])
def test_an_encoder_with_scales_of_its_batch_is_refused(
    encoder: str,
    tiny_bundle: Path,
    tmp_path: Path,
    rows: list[PreparedRow],
    expected: ReferenceAnswers,
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    place = bundle / encoder / "onnx-fp32"
    quantize_dynamic(tiny_bundle / encoder / "onnx-fp32" / "model.onnx", place / "dynamic.onnx")
    (place / "dynamic.onnx").replace(place / "model.onnx")
    report = parity(bundle, rows, expected)
    anything = ExportConfig(precision="int8").limits.model_copy(
        update={"max_flip_rate": 1.0, "max_ua_change": 1.0}
    )
    with pytest.raises(ParityError, match="the same utterance alone and in batches within"):
        gate(report.model_copy(update={"limits": anything}))


def test_rates_are_judged_on_enough_utterances_not_decisions(
    tiny_bundle: Path, rows: list[PreparedRow], expected: ReferenceAnswers
) -> None:
    pipeline = Pipeline(Bundle.open(tiny_bundle, verify=False))
    many = (rows * 42)[:500]
    index = torch.tensor((list(range(12)) * 42)[:500])
    for count, enough in ((499, False), (500, True)):
        report = compare(
            pipeline, many[:count], answers_at(expected, index[:count]), LIMITS, SILENT
        )
        assert report.decisions == 3 * count
        assert report.enough_for_rates is enough


def answers_at(answers: ReferenceAnswers, index: torch.Tensor) -> ReferenceAnswers:
    return ReferenceAnswers(
        answers.embeddings[index],
        answers.logits[index],
        answers.probabilities[index],
        answers.similarities[index],
        {modality: answers_at(hidden, index) for modality, hidden in answers.hidden.items()},
    )
