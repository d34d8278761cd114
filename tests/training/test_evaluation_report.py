from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from hemogat.errors import InputError
from hemogat.training.evaluation import answer_split
from hemogat.training.evaluation_record import Evaluation, SplitAnswers, summarise_answers
from hemogat.training.evaluation_report import report, write_evaluation
from hemogat.training.evaluation_tables import graph_gain_sentence
from hemogat.training.intervals import estimate
from hemogat.training.run_directory import RunDirectory

KINDS = ("confusion", "roc", "precision-recall", "reliability", "tsne")


@pytest.fixture(scope="module")
def answers(tiny_run: Path) -> SplitAnswers:
    return answer_split(RunDirectory.open(tiny_run))


@pytest.fixture(scope="module")
def written(answers: SplitAnswers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluation") / "test"
    assert write_evaluation(answers, out, pictures=False) == summarise_answers(answers)
    return out


def tables(text: str) -> dict[str, list[list[str]]]:
    """Return the cells of each section's table, its heading and rule left out."""
    return {
        section.partition("\n")[0]: [
            [cell.strip(" `") for cell in line.strip("|").split("|")]
            for line in section.splitlines()
            if line.startswith("|")
        ][2:]
        for section in text.split("\n## ")
    }


def test_every_picture_is_drawn_and_shown(answers: SplitAnswers, tmp_path: Path) -> None:
    rows = tuple(r for r in answers.rows if (r.graph, r.inputs) == ("inductive", "both"))
    assert [row.head for row in rows] == ["full", "no_gnn"]
    write_evaluation(replace(answers, rows=rows), tmp_path / "out")
    pictures = {f"{kind}-{group}.png" for kind in KINDS for group in ("inductive", "no_gnn")}
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"metrics.json", "report.md", *pictures}
    text = (tmp_path / "out" / "report.md").read_text()
    assert sorted(re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)) == sorted(pictures)
    for name in pictures:
        grey = imread(tmp_path / "out" / name)[..., :3].mean(axis=2)
        assert min(grey.shape) > 400
        assert len(np.unique(grey)) > 10  # something is drawn


def test_the_reports_numbers_are_those_of_the_json(answers: SplitAnswers, written: Path) -> None:
    found = Evaluation.model_validate_json((written / "metrics.json").read_bytes())
    assert found == summarise_answers(answers)
    shown = tables((written / "report.md").read_text())
    best = f"{found.best_seed}"
    assert f"seed {best} exported" in (written / "report.md").read_text()

    def percent(share: float) -> str:
        return f"{100 * share:.1f}"

    expected = []
    for row in found.rows:
        names = ("accuracy", "unweighted_accuracy", "weighted_f1", "macro_f1")
        e = [row.figures[name] for name in names]
        cells = [f"{percent(f.mean)} ± {percent(f.high - f.mean)}" for f in e]
        exported = percent(row.figures["weighted_f1"].best)
        expected.append([row.head, row.graph, row.inputs, str(row.utterances), *cells, exported])
    assert shown["Recognition, %"] == expected

    by_figure = {cells[0]: cells[1:] for cells in shown["All figures, inductive graph, %"]}
    assert len(by_figure) == len(found.served.figures)
    ece = found.served.figures["ece"]
    interval = f"{percent(ece.low)} to {percent(ece.high)}"
    assert by_figure["ECE"] == [percent(ece.mean), percent(ece.std), interval, percent(ece.best)]

    labels = shown["By label, %"]  # of every row, one after the other
    titles = ["label", "---"]  # of the tables after the first
    by_row = [cells for cells in labels if cells[0] not in titles]
    assert [cells[0] for cells in by_row] == list(found.labels) * len(found.rows)
    of_each = [label for row in found.rows for label in row.per_class]
    for cells, of_label in zip(by_row, of_each, strict=True):
        assert cells[1:] == [
            of_label.precision.percent(),
            of_label.recall.percent(),
            of_label.f1.percent(),
            str(of_label.support),
        ]

    gain = found.graph_gain["accuracy"]
    accuracy = shown["What the graph adds"][0]
    assert accuracy[1] == f"{100 * gain.mean:+.1f}"
    assert accuracy[-1] == f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    cosines = {
        cells[0]: cells[1:] for cells in shown["Likeness of the nodes after each graph layer"]
    }
    for graph, row in found.graphs.items():
        assert cosines[graph] == [f"{cosine.mean:.2f}" for cosine in row.layer_cosine]


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([0.02, 0.021, 0.022], "by +2.1 points (+1.9 to +2.3, paired over 3 seeds): a gain."),
        ([-0.02, -0.021, -0.022], "by -2.1 points (-2.3 to -1.9, paired over 3 seeds): a loss."),
        ([0.05, -0.01, 0.02], "holds 0, so neither a gain nor a loss is shown."),
        ([0.05], "by +5.0 points in one seed, which shows neither a gain nor a loss."),
    ],
)
def test_a_gain_is_claimed_only_where_the_seeds_show_it(
    differences: list[float], said: str
) -> None:
    assert graph_gain_sentence(estimate(differences, best=0)).endswith(said)


def test_one_seed_is_said_to_have_no_interval(answers: SplitAnswers) -> None:
    rows = tuple(replace(row, probabilities=row.probabilities[:1]) for row in answers.rows)
    alone = replace(answers, seeds=(7,), best_seed=7, rows=rows)
    text = report(summarise_answers(alone))
    assert "One seed (7), so there is no interval" in text
    assert "±" not in text
    assert {cells[3] for cells in tables(text)["All figures, inductive graph, %"]} == {"one seed"}


def test_without_pictures_and_with_few_utterances(answers: SplitAnswers, tmp_path: Path) -> None:
    write_evaluation(answers, tmp_path / "plain", pictures=False)
    assert {path.name for path in (tmp_path / "plain").iterdir()} == {"metrics.json", "report.md"}
    assert "![" not in (tmp_path / "plain" / "report.md").read_text()

    row = answers.rows[0]
    few = replace(
        row, true=row.true[:9], probabilities=row.probabilities[:, :9], features=row.features[:9]
    )
    out = tmp_path / "few"
    write_evaluation(replace(answers, rows=(few,)), out)
    assert (out / "roc-inductive.png").is_file()
    assert not (out / "tsne-inductive.png").exists()
    assert "No t-SNE" in (out / "report.md").read_text()


def test_an_evaluation_is_replaced_and_nothing_else(answers: SplitAnswers, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_evaluation(answers, out, pictures=False)
    (out / "old.png").touch()
    write_evaluation(answers, out, pictures=False)
    assert not (out / "old.png").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        write_evaluation(answers, mine, pictures=False)
    assert json.loads((out / "metrics.json").read_text())["schema_version"] == 1
