from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hemogat
from hemogat.errors import BundleError
from hemogat.training.run_directory import RunDirectory


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny run that a test may damage."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_a_run_holds_all_that_export_and_evaluation_read(tiny_run: Path) -> None:
    run = RunDirectory.open(tiny_run)
    assert list(run.record.heads) == ["full", "no_gnn", "audio_only", "text_only"]
    assert run.record.recipe.name == "tiny"
    assert Path(run.record.manifest).is_absolute()
    assert {"python", "torch", "transformers"} <= set(run.record.versions)
    sizes = {split: len(run.features(split).labels) for split in ("train", "val", "test")}
    assert sizes == {"train": 24, "val": 6, "test": 12}
    train = run.features("train")
    assert train.labels.bincount().tolist() == [8, 8, 8]
    assert train.embeddings.audio.shape == train.embeddings.text.shape == (24, 16)
    for module in (run.audio_encoder(), run.text_encoder(), run.head(), run.head("no_gnn")):
        assert not module.training


def test_a_run_holds_no_pickles(tiny_run: Path) -> None:
    files = [path for path in tiny_run.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files if "tfevents" not in path.name}
    assert kinds == {".json", ".safetensors"}


def test_nothing_in_the_package_unpickles_freely() -> None:
    """One module reads pickles, and admits arrays alone; torch loads with weights_only."""
    for path in Path(hemogat.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in map(ast.unparse, node.keywords), path
            elif isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in ("pickle.load", "pickle.loads"), path
                assert ast.unparse(node) != "torch.save" or path.name == "loop.py"  # checkpoints
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle", path
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", "") or ""]
                if names == ["UnpicklingError", "pickle"]:  # to be caught: torch's own refusal
                    continue
                banned = {"joblib", "dill"} | (
                    {"pickle"} if isinstance(node, ast.ImportFrom) else set()
                )
                assert not banned & {n.split(".")[0] for n in names}, path
            if isinstance(node, ast.ClassDef) and "pickle.Unpickler" in map(
                ast.unparse, node.bases
            ):
                assert path.name == "restricted_pickle.py"


def test_every_file_of_a_run_can_be_read_by_others(tiny_run: Path) -> None:
    for path in tiny_run.rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444, path


def drop(*names: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        for name in names:
            path = run / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def overwrite(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(content) and None


def lose_a_tensor(name: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        state = load_file(run / name)
        state.pop(sorted(state)[-1])
        save_file(state, run / name, metadata={"format": "pt"})

    return change


def another_head(run: Path) -> None:
    shutil.copy(
        run / "heads" / "text_only-seed0.safetensors", run / "heads" / "full-seed0.safetensors"
    )


def other_size(run: Path) -> None:
    path = run / "text_encoder" / "config.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | {"vocab_size": 1 + raw["vocab_size"]}))


def read_all(path: Path) -> None:
    run = RunDirectory.open(path)
    run.audio_encoder()
    run.text_encoder()
    run.head(seed=0)
    run.head(seed=1)
    run.features("test")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (drop("audio_encoder"), "audio_encoder"),
        (drop("text_encoder"), "text_encoder"),
        (drop("audio_encoder/model.safetensors"), "audio_encoder"),
        (overwrite("audio_encoder/model.safetensors", b"damaged"), "audio_encoder"),
        (overwrite("text_encoder/config.json", b"damaged"), "text_encoder"),
        # Without a check, transformers would fill the gap with random numbers.
        (lose_a_tensor("audio_encoder/model.safetensors"), "audio_encoder"),
        (other_size, "text_encoder"),
        (lose_a_tensor("text_encoder/model.safetensors"), "text_encoder"),
        (drop("heads/full-seed0.safetensors"), "heads/full-seed0.safetensors"),
        (overwrite("heads/full-seed0.safetensors", b"damaged"), "heads/full-seed0.safetensors"),
        (lose_a_tensor("heads/full-seed0.safetensors"), "heads/full-seed0.safetensors"),
        (another_head, "heads/full-seed0.safetensors"),
        (drop("features.safetensors"), "features.safetensors"),
        (overwrite("features.safetensors", b"damaged"), "features.safetensors"),
        (overwrite("run.json", b"{}"), "run.json"),
        (overwrite("run.json", b"\xff"), "run.json"),
        (drop("run.json"), "run.json"),
    ],
)
def test_a_damaged_run_is_named_not_mended(
    damage: Callable[[Path], None],
    named: str,
    run_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(run_copy)
    monkeypatch.chdir(run_copy.parent)
    # A relative path must not be taken for the name of a model to fetch, either.
    for path in (run_copy, Path("run")):
        with pytest.raises(BundleError) as caught:
            read_all(path)
        assert str(path) in str(caught.value)
        assert named in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "train" in str(caught.value)


def test_features_keep_the_rows_of_the_record(tiny_run: Path) -> None:
    run = RunDirectory.open(tiny_run)
    stored = load_file(tiny_run / "features.safetensors")
    rows = [i for i, row in enumerate(run.record.rows) if row.split == "val"]
    torch.testing.assert_close(run.features("val").embeddings.audio, stored["audio"][rows])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"best_seed": 7}, "best_seed 7 is none of seeds"),
        ({"seeds": []}, "best_seed 0 is none of seeds"),
        ({"heads": {}}, "heads lack 'full'"),
        ({"heads": {"full": {}, "../../x": {}}}, "heads"),
        ({"rows": [{"id": "1", "label": "joyful", "split": "test"}]}, "label 'joyful'"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    run_copy: Path, change: dict[str, object], reason: str
) -> None:
    path = run_copy / "run.json"
    best = {"best_seed": 0} if "seeds" in change else {}
    path.write_text(json.dumps(json.loads(path.read_text()) | best | change))
    with pytest.raises(BundleError, match=reason) as caught:
        RunDirectory.open(run_copy)
    assert "\n" not in str(caught.value)


def test_a_record_that_its_tensors_contradict_is_refused(run_copy: Path) -> None:
    path = run_copy / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"rows": record["rows"] * 2}))
    with pytest.raises(BundleError, match=r"features\.safetensors: does not hold the \d+ rows"):
        RunDirectory.open(run_copy).features("train")
    for change in ({"hidden": 2**20}, {"hidden": 32}, {"num_layers": 2}):  # the first: terabytes
        head = record["heads"]["full"] | change
        path.write_text(json.dumps(record | {"heads": record["heads"] | {"full": head}}))
        with pytest.raises(BundleError, match=r"full-seed\d\.safetensors: does not fit run\.json"):
            RunDirectory.open(run_copy).head()
