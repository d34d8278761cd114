from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hemogat.data.manifest import read_manifest
from hemogat.errors import InputError
from hemogat.runtime.manifest_prediction import predict_manifest
from hemogat.runtime.pipeline import Pipeline
from hemogat.runtime.prediction_rows import ALL_ROWS


@pytest.fixture(scope="module")
def pipeline(tiny_bundle: Path) -> Pipeline:
    return Pipeline.load(tiny_bundle)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "answers" / "predictions.csv"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_row_is_answered_as_if_alone(
    pipeline: Pipeline, tiny_manifest: Path, out: Path
) -> None:
    utterances = read_manifest(tiny_manifest).utterances
    result = predict_manifest(pipeline, tiny_manifest, out)
    rows = read(out)
    columns = ["id", "label", *(f"p_{label}" for label in pipeline.labels), "modalities"]
    assert list(rows[0]) == columns
    assert [row["id"] for row in rows] == [u.id for u in utterances]
    assert (result.out, result.predicted, result.skipped) == (out, len(utterances), ())
    for row, utterance in list(zip(rows, utterances, strict=True))[::10]:
        alone = pipeline(utterance.audio, utterance.text)
        assert row["label"] == alone.label
        assert row["modalities"] == "audio,text"
        found = {label: float(row[f"p_{label}"]) for label in pipeline.labels}
        assert found == pytest.approx(alone.probabilities, abs=2e-6)


def test_scores_are_counted_by_split(pipeline: Pipeline, tiny_manifest: Path, out: Path) -> None:
    scores = predict_manifest(pipeline, tiny_manifest, out).scores
    predicted = {row["id"]: row["label"] for row in read(out)}
    for split in ("train", "val", "test"):
        utterances = read_manifest(tiny_manifest).split(split)
        correct = sum(predicted[u.id] == u.label for u in utterances)
        assert (scores[split].utterances, scores[split].correct) == (len(utterances), correct)
        assert scores[split].accuracy == correct / len(utterances)


def test_one_column_is_enough(pipeline: Pipeline, tmp_path: Path, out: Path) -> None:
    manifest = write(tmp_path / "m.csv", "text", "stop that", "she left")
    result = predict_manifest(pipeline, manifest, out)
    assert [(row["id"], row["modalities"]) for row in read(out)] == [
        ("row-2", "text"),
        ("row-3", "text"),
    ]
    assert result.scores == {}


def test_labels_without_splits_are_counted_together(
    pipeline: Pipeline, tmp_path: Path, out: Path
) -> None:
    label = pipeline(None, "stop that").label
    manifest = write(tmp_path / "m.csv", "text,label", f"stop that,{label}", "she left,")
    scores = predict_manifest(pipeline, manifest, out).scores
    assert (scores[ALL_ROWS].utterances, scores[ALL_ROWS].correct) == (1, 1)


@pytest.fixture
def flawed(tmp_path: Path, tiny_clips: Path) -> Path:
    """Return a manifest with one good row and one of each kind of bad ones."""
    (tmp_path / "noise.wav").write_bytes(b"no audio at all")
    good = next(tiny_clips.glob("*.wav"))
    return write(
        tmp_path / "m.csv",
        "id,audio,text,label",
        f"good,{good},hello,",
        "absent,nofile.wav,hello,",
        "noise,noise.wav,hello,",
        "blank,,,",
        "label,,hello,bored",
        "commas,,well, hello, you",
    )


def test_bad_rows_are_skipped_and_listed(pipeline: Pipeline, flawed: Path, out: Path) -> None:
    result = predict_manifest(pipeline, flawed, out, skip_bad=True)
    assert [row["id"] for row in read(out)] == ["good"]
    reasons = {row.id: row.reason for row in result.skipped}
    assert list(reasons) == ["absent", "noise", "blank", "label", "commas"]
    for number, (row, expected) in enumerate(
        {
            "absent": "'nofile.wav': no such file",
            "noise": "is not audio",
            "blank": "neither audio nor text",
            "label": "'bored' is unknown; expected one of angry, calm, sad",
            "commas": "more cells than the header",
        }.items(),
        start=3,
    ):
        assert expected in reasons[row]
        assert f"{flawed}: row {number}" in reasons[row]


def test_a_bad_row_stops_and_leaves_nothing(pipeline: Pipeline, flawed: Path, out: Path) -> None:
    with pytest.raises(InputError, match=r"m\.csv: row 3: .*nofile\.wav"):
        predict_manifest(pipeline, flawed, out)
    assert not out.exists()


def test_a_bad_row_leaves_the_earlier_file(pipeline: Pipeline, flawed: Path) -> None:
    out = write(flawed.with_name("out.csv"), "earlier")
    with pytest.raises(InputError):
        predict_manifest(pipeline, flawed, out)
    assert out.read_text() == "earlier\n"
    assert not list(flawed.parent.glob(".out.csv*"))


def test_nothing_but_bad_rows_is_refused(pipeline: Pipeline, tmp_path: Path, out: Path) -> None:
    manifest = write(tmp_path / "m.csv", "audio", "a.wav", "b.wav")
    with pytest.raises(InputError, match=r"none of its rows .*row 2: audio 'a\.wav'"):
        predict_manifest(pipeline, manifest, out, skip_bad=True)
    assert not out.exists()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("audio,text",), "holds no rows"),
        (("id,text", "a,hello", "b,hi", "a,bye"), "row 4: id 'a' is already that of row 2"),
        (("file,words", "a.wav,hello"), "expected a column 'audio' or 'text', found 'file,words'"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(
    pipeline: Pipeline, tmp_path: Path, out: Path, lines: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        predict_manifest(pipeline, write(tmp_path / "m.csv", *lines), out)


def test_the_manifest_is_not_overwritten(pipeline: Pipeline, tmp_path: Path) -> None:
    manifest = write(tmp_path / "m.csv", "text", "hello")
    with pytest.raises(InputError, match="is the manifest itself"):
        predict_manifest(pipeline, manifest, tmp_path / "." / "m.csv")
    with pytest.raises(InputError, match="is a folder"):
        predict_manifest(pipeline, manifest, tmp_path)
