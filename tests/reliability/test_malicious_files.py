"""A malicious file in every place that a command reads: refused in one line, or not looked at.

Bundles, runs, checkpoints, features and their cache: tests/reliability/test_tampering.py.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hemogat.benchmarks.suites import STEP_FILE, Step, StepRecord
from hemogat.cli.main import app
from hemogat.config import Recipe
from hemogat.errors import HemogatError
from hemogat.runtime.bundle import write_sums
from hemogat.runtime.tensorrt_plan import check_plan, record_path
from hemogat.serving import manifest_requests
from hemogat.serving.admin_key import KEY_FILE_VARIABLE, admin_key
from hemogat.serving.endpoint import CA_VARIABLE
from hemogat.serving.repository import CONFIG_FILE, write_repository
from hemogat.serving.repository_checks import check_repository
from hemogat.training.partial_run import ORIGIN_FILE, partial_path

(REPORT, *_) = sorted(Path(__file__).parents[2].glob("benchmarks/results/cost-*.json"))
Command = tuple[str | Path, ...]
Run = Command | Callable[[], object]


class Places:
    """Each method makes what a command needs, and returns a file that it reads and the command."""

    def __init__(
        self, folder: Path, manifest: Path, run: Path, bundle: Path, recipe: Recipe, corpora: Any
    ) -> None:
        self.folder, self.manifest, self.run, self.bundle = folder, manifest, run, bundle
        self.corpora = corpora
        self.file, self.out = folder / "given", folder / "out"
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))

    def copy(self, source: Path) -> Path:
        """Return a copy that may be changed."""
        return Path(shutil.copytree(source, self.folder / f"{source.name}-copy"))

    def suite(self) -> tuple[Path, Run]:
        return self.file, ("bench", "suite", self.file, "--out", self.out)

    def done_suite(self) -> tuple[Path, Command]:
        """A suite whose step has been run, and the step's report."""
        step = Step(name="cost", command="cost")
        suite = {"name": "s", "title": "S", "steps": [step.model_dump(mode="json")]}
        self.file.write_text(yaml.safe_dump(suite))
        place = self.out / step.name
        place.mkdir(parents=True)
        record = StepRecord(step=step, report="report.json", took_s=1)
        (place / STEP_FILE).write_text(record.model_dump_json())
        shutil.copy(REPORT, place / "report.json")
        return place / "report.json", ("bench", "suite", self.file, "--out", self.out)

    def suites_step(self) -> tuple[Path, Run]:
        report, command = self.done_suite()
        return report.with_name(STEP_FILE), command

    def suites_report(self) -> tuple[Path, Run]:
        return self.done_suite()

    def report(self) -> tuple[Path, Run]:
        return self.file, ("bench", "report", self.file, "--out", self.folder / "page.html")

    def compared_before(self) -> tuple[Path, Run]:
        return self.file, ("bench", "compare", self.file, REPORT)

    def compared_after(self) -> tuple[Path, Run]:
        return self.file, ("bench", "compare", REPORT, self.file)

    def recipe_to_train(self) -> tuple[Path, Run]:
        rest = ("--manifest", self.manifest, "--out", self.out)
        return self.recipe, ("train", self.recipe, *rest)

    def manifest_to_train(self) -> tuple[Path, Run]:
        return self.file, ("train", self.recipe, "--manifest", self.file, "--out", self.out)

    def origin_of_a_partial_run(self) -> tuple[Path, Run]:
        _, command = self.recipe_to_train()
        file = partial_path(self.out) / ORIGIN_FILE
        file.parent.mkdir()
        assert isinstance(command, tuple)
        return file, (*command, "--resume")

    def recipe_to_export(self) -> tuple[Path, Run]:
        return self.file, ("export", self.run, "--recipe", self.file, "--out", self.out)

    def inputs_of_an_export(self) -> tuple[Path, Run]:
        return self.file, ("export", self.run, "--inputs", self.file, "--out", self.out)

    def checkpoint(self) -> tuple[Path, Run]:
        given = ("--labels", "a,b,c,d", "--out", self.out, "--train", REPORT)
        return self.file, ("import-checkpoint", self.file, *given)

    def settings_of_a_repository(self) -> tuple[Path, Run]:
        return self.file, ("repository", self.bundle, "--out", self.out, "--settings", self.file)

    def settings_of_a_server(self) -> tuple[Path, Run]:
        return self.file, ("serve", self.bundle, "--settings", self.file)

    def configuration_of_a_model(self) -> tuple[Path, Run]:
        models = write_repository(self.copy(self.bundle), self.out)

        def check() -> None:
            write_sums(models)  # so that it is believed
            check_repository(models)

        return next(models.glob(f"*/{CONFIG_FILE}")), check

    def admin_key(self) -> tuple[Path, Run]:
        os.environ[KEY_FILE_VARIABLE] = str(self.file)
        return self.file, admin_key

    def certificates(self) -> tuple[Path, Run]:
        os.environ[CA_VARIABLE] = str(self.file)
        return self.file, ("predict", "--url", "grpcs://127.0.0.1:1", "--text", "hello")

    def clip(self) -> tuple[Path, Run]:
        return self.file, ("predict", self.bundle, self.file)

    def manifest_to_predict(self) -> tuple[Path, Run]:
        rest = ("--manifest", self.file, "--out", self.folder / "o.csv")
        return self.file, ("predict", self.bundle, *rest)

    def manifest_to_evaluate(self) -> tuple[Path, Run]:
        return self.file, ("evaluate", self.bundle, "--manifest", self.file, "--out", self.out)

    def manifest_for_the_bank(self) -> tuple[Path, Run]:
        return self.file, ("bank", "add", self.bundle, self.file, "--out", self.out)

    def manifest_to_ask_a_server(self) -> tuple[Path, Run]:
        rest = ("--manifest", self.file, "--out", self.folder / "o.csv")
        return self.file, ("predict", "--url", "127.0.0.1:1", *rest)

    def journal_of_a_server(self) -> tuple[Path, Run]:
        out = self.folder / "o.csv"
        rest = ("--manifest", self.manifest, "--out", out)
        return out.with_name("o.csv.partial"), ("predict", "--url", "127.0.0.1:1", *rest)

    def cell_of_a_study(self) -> tuple[Path, Run]:
        """What is no result of a head is trained anew."""
        command = ("study", "gnn", self.run, "--seeds", "1", "--out", self.out)
        assert CliRunner().invoke(app, [*map(str, command)]).exit_code == 0
        return sorted((self.out / "cells").rglob("*.json"))[0], command

    def study(self) -> tuple[Path, Run]:
        run = self.copy(self.run)
        file = run / "studies/gnn/study.json"
        file.parent.mkdir(parents=True)
        return file, ("bench", "gnn", "--run", run)

    def evaluation_of_iemocap(self) -> tuple[Path, Run]:
        root = self.corpora.write_iemocap(self.folder / "iemocap")
        file = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
        return file, ("prepare", "iemocap", root, "--out", self.folder / "o.csv")

    def transcript_of_iemocap(self) -> tuple[Path, Run]:
        root = self.corpora.write_iemocap(self.folder / "iemocap")
        file = root / "Session1/dialog/transcriptions/Ses01F_impro01.txt"
        return file, ("prepare", "iemocap", root, "--out", self.folder / "o.csv")

    def splits_of_iemocap(self) -> tuple[Path, Run]:
        root = self.corpora.write_iemocap(self.folder / "iemocap")
        splits = self.corpora.write_authors_splits(self.folder / "splits", train=[], val=[])
        rest = ("--splits", splits, "--out", self.folder / "o.csv")
        return splits / "IEMOCAP_metadata_test.csv", ("prepare", "iemocap", root, *rest)

    def table_of_meld(self) -> tuple[Path, Run]:
        root = self.corpora.write_meld(self.folder / "meld")
        rest = ("--text-only", "--out", self.folder / "o.csv")
        return root / "dev_sent_emo.csv", ("prepare", "meld", root, *rest)

    def text_of_a_folder(self) -> tuple[Path, Run]:
        text = self.folder / "clips/calm/a.txt"
        text.parent.mkdir(parents=True)
        text.with_suffix(".wav").touch()
        return text, ("prepare", "folder", self.folder / "clips", "--out", self.folder / "o.csv")

    def record_of_a_plan(self) -> tuple[Path, Run]:
        plan = self.folder / "model.plan"
        plan.touch()
        gpu = SimpleNamespace(name="GPU", compute_capability="9.0")
        return record_path(plan), lambda: check_plan(plan, "10.16.1", gpu)


PLACES = [name for name, of in vars(Places).items() if callable(of) and name[0] != "_"]
NO_PLACES = ("copy", "done_suite")
# What is in these is passed over, or made anew.
PASSED_OVER = (
    "cell_of_a_study",
    "evaluation_of_iemocap",
    "transcript_of_iemocap",
    "text_of_a_folder",
)


@pytest.fixture
def places(
    tmp_path: Path,
    tiny_manifest: Path,
    tiny_run: Path,
    tiny_bundle: Path,
    tiny_recipe: Recipe,
    corpora: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> Places:
    class Server:
        """A client of a server that is there, until something is asked of it."""

        def __init__(self, *arguments: object, **more: object) -> None: ...

        async def __aenter__(self) -> Server:
            return self

        async def __aexit__(self, *error: object) -> None: ...

        async def model_facts(self) -> object:
            return SimpleNamespace(labels=tiny_recipe.labels, bundle_sums="0" * 64)

    monkeypatch.setattr(manifest_requests, "AsyncClient", Server)
    monkeypatch.setenv("HEMOGAT_WORKSPACE", str(tmp_path / "build"))
    for variable in (KEY_FILE_VARIABLE, CA_VARIABLE):
        monkeypatch.setenv(variable, "")  # so that it is taken back at the end
    return Places(tmp_path, tiny_manifest, tiny_run, tiny_bundle, tiny_recipe, corpora)


def test_the_contents_do_attack_who_loads_them(
    malicious_contents: list[bytes], marker: Path
) -> None:
    """Without this, nothing would be refused in the tests of this folder."""
    import torch

    def load_torch(content: bytes) -> None:
        torch.load(io.BytesIO(content), weights_only=False)

    loads = (pickle.loads, pickle.loads, pickle.loads, load_torch, yaml.unsafe_load)
    for content, load in zip(malicious_contents, loads, strict=True):
        assert not marker.exists()
        load(content)
        marker.rmdir()


@pytest.mark.parametrize("place", [name for name in PLACES if name not in NO_PLACES])
def test_no_content_of_a_file_is_executed(
    place: str, places: Places, malicious_contents: Iterable[bytes], marker: Path
) -> None:
    file, run = getattr(places, place)()
    for content in malicious_contents:
        file.write_bytes(content)
        if callable(run):
            with pytest.raises(HemogatError) as caught:
                run()
            assert "\n" not in str(caught.value)
        else:
            done = CliRunner().invoke(app, [*map(str, run)])
            if place not in PASSED_OVER or done.exit_code:
                assert done.exit_code == 1, done.output
                assert isinstance(done.exception, SystemExit), done.exception
                assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
        assert not marker.exists()
        assert file.parent.exists()
