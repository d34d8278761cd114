"""Altered files are refused by name, and no file that is read can run code or lead elsewhere."""

from __future__ import annotations

import json
import os
import pickle
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hemogat.config import Recipe
from hemogat.data.manifest import ManifestError, read_manifest
from hemogat.errors import HemogatError
from hemogat.export.export_run import export_run
from hemogat.export_config import ExportConfig
from hemogat.model.pretrained import load_pretrained, load_saved
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.bundle import SUMS_FILE, Bundle, write_sums
from hemogat.runtime.pipeline import Pipeline
from hemogat.serving.repository import write_repository
from hemogat.training.authors_checkpoint import read_checkpoint
from hemogat.training.authors_features import read_authors_features
from hemogat.training.features import FeatureCache
from hemogat.training.processes import make_accelerator
from hemogat.training.run_directory import RECORD_FILE, RunDirectory
from hemogat.training.train import train

HASHED = 64 + 2  # digits of a hash, and the spaces before the name


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def refusals(path: Path, original: bytes, flipped: bytes, at: int) -> tuple[str, ...]:
    """Return how the refusal of a file with a flipped bit in byte ``at`` may begin."""
    if path.name != SUMS_FILE:
        return (f"{path}: ",)
    # It is no list of hashes any more, or one where a file has another hash, or another name.
    line = original.rfind(b"\n", 0, at) + 1
    name = original[line + HASHED : original.index(b"\n", line)].decode()
    now = flipped[line + HASHED :].split(b"\n")[0].decode(errors="replace")
    return (
        f"{path}: is not a list of hashes",
        f"{path.parent / name}: is altered",
        f"{path.parent / now}: is missing",
    )


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_flipped_bit_is_refused_with_the_files_name(
    bundle_copy: Path, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(files_of(bundle_copy)))
    original = path.read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    flipped = bytearray(original)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    try:
        for opened in (Bundle.open, Pipeline.load):
            with pytest.raises(HemogatError) as caught:
                opened(bundle_copy)
            message = str(caught.value)
            assert message.startswith(refusals(path, original, bytes(flipped), at)), message
            assert "\n" not in message
        with pytest.raises(HemogatError):
            write_repository(bundle_copy, bundle_copy.parent / "models")
        assert not (bundle_copy.parent / "models").exists()
    finally:
        path.write_bytes(original)


REPORTS = ("metrics.json", "MODEL_CARD.md", "golden.json")


@pytest.mark.parametrize("refit", [False, True], ids=["hashes kept", "hashes made to fit"])
def test_a_pickle_in_any_file_of_a_bundle_is_never_run(
    bundle_copy: Path, malicious_pickle: bytes, refit: bool
) -> None:
    for path in files_of(bundle_copy):
        original = path.read_bytes()
        path.write_bytes(malicious_pickle)
        if refit and path.name != SUMS_FILE:
            write_sums(bundle_copy)
        inside = path.relative_to(bundle_copy)
        graph_for_new_rows = inside.parts[0] == "bank" and inside.name != "rows.json"
        if refit and (inside.name in REPORTS or graph_for_new_rows):
            Pipeline.load(bundle_copy)  # nothing that classifies reads these
        elif refit and path.suffix == ".wav":
            with pytest.raises(HemogatError):
                Pipeline.load(bundle_copy)(path)
        else:
            with pytest.raises(HemogatError):
                Pipeline.load(bundle_copy)(text="stop").neighbours  # noqa: B018
        path.write_bytes(original)
        write_sums(bundle_copy)


def read_run(folder: Path) -> None:
    """Read everything of a run that evaluation and export read."""
    run = RunDirectory.open(folder)
    run.audio_encoder()
    run.text_encoder()
    run.features("train")
    for name in run.record.heads:
        for seed in run.record.seeds:
            run.head(name, seed)


def test_a_pickle_in_any_file_of_a_run_is_never_run(
    run_copy: Path, malicious_pickle: bytes, tmp_path: Path
) -> None:
    read_run(run_copy)
    for path in files_of(run_copy):
        if "logs" in path.parts:
            continue  # nothing of ours reads them
        original = path.read_bytes()
        path.write_bytes(malicious_pickle)
        if path.name == "tokenizer.json":
            with pytest.raises(HemogatError):
                export_run(run_copy, tmp_path / "bundle", ExportConfig())
        else:
            with pytest.raises(HemogatError):
                read_run(run_copy)
        path.write_bytes(original)


def test_code_in_pickled_weights_is_not_run(
    run_copy: Path, malicious: object, tmp_path: Path
) -> None:
    folder = run_copy / "audio_encoder"
    (folder / "model.safetensors").unlink()
    torch.save({"weight": malicious}, folder / "pytorch_model.bin")
    with pytest.raises(HemogatError):
        load_saved(folder)
    with pytest.raises(HemogatError):  # a pickle, but of weights alone
        load_pretrained(str(folder), "audio_encoder", ("wav2vec2",))


def test_the_code_of_a_pretrained_model_is_not_run(tmp_path: Path, marker: Path) -> None:
    """A folder may name code of its own, and transformers asks for it where there is a terminal."""
    folder = tmp_path / "model"
    folder.mkdir()
    code = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": code}))
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\n")
    program = (
        "from hemogat.model.pretrained import load_pretrained, save_tokenizer\n"
        "from pathlib import Path\n"
        "from hemogat.errors import ConfigError\n"
        f"for load in (lambda: load_pretrained({str(folder)!r}, 'audio_encoder', ('wav2vec2',)),\n"
        f"             lambda: save_tokenizer({str(folder)!r}, 'text_encoder', Path('t.json'))):\n"
        "    try:\n"
        "        load()\n"
        "    except ConfigError:\n"
        "        print('refused')\n"
    )
    ours, theirs = pty.openpty()
    os.write(ours, b"y\ny\ny\n")
    done = subprocess.run(
        [sys.executable, "-c", program], stdin=theirs, capture_output=True, text=True, cwd=tmp_path
    )
    os.close(ours)
    os.close(theirs)
    assert done.stdout.count("refused") == 2, done.stderr


def test_a_pickle_in_the_feature_cache_is_made_anew(tmp_path: Path, malicious: object) -> None:
    cache = FeatureCache(tmp_path / "cache", make_accelerator())
    cache.put("key", torch.ones(2, 3))
    (shard,) = (tmp_path / "cache").iterdir()
    for content in (pickle.dumps(malicious), b"", b"\xff" * 100):
        shard.write_bytes(content)
        assert cache.get("key") is None
    torch.save({"embeddings": malicious}, shard)
    assert cache.get("key") is None


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_as_checkpoint_or_features_is_refused(
    tmp_path: Path, malicious: object, zipped: bool
) -> None:
    path = tmp_path / "file"
    for value in (malicious, {"mlp.4.weight": malicious}, [{"label": malicious}]):
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(HemogatError):
            read_checkpoint(path)
        with pytest.raises(HemogatError):
            read_authors_features(path, audio_dim=2, text_dim=2, labels=2)


@pytest.mark.parametrize("stage", ["audio_encoder", "text_encoder", "heads/full-seed0"])
def test_a_pickle_as_checkpoint_of_an_interrupted_stage_is_refused(
    run_copy: Path, tiny_recipe: Recipe, tiny_manifest: Path, malicious: object, stage: str
) -> None:
    """The partial run has all results but this stage's, and a checkpoint of it."""
    from hemogat.training.partial_run import ORIGIN_FILE, Origin

    partial = run_copy.rename(run_copy.with_name("out.partial"))
    (partial / RECORD_FILE).unlink()
    origin = Origin.of(tiny_recipe, tiny_manifest, skip_bad=False)
    (partial / ORIGIN_FILE).write_text(origin.model_dump_json())
    result = partial / (f"{stage}.safetensors" if "heads" in stage else stage)
    result.rename(partial / "aside")
    checkpoint = partial / "unfinished" / f"{stage}.pt"
    checkpoint.parent.mkdir(parents=True)
    torch.save({"model": malicious}, checkpoint)
    with pytest.raises(HemogatError, match=rf"{checkpoint}: is no checkpoint of this stage"):
        train(tiny_recipe, tiny_manifest, partial.with_name("out"), existing="resume")


def test_a_bank_whose_places_lie_is_refused(bundle_copy: Path) -> None:
    path = bundle_copy / "fusion" / "onnx-fp32" / "bank.safetensors"
    original = path.read_bytes()
    length = int.from_bytes(original[:8], "little")
    header = json.loads(original[8 : 8 + length])
    name = next(key for key in header if key != "__metadata__")

    def lie(**changes: Any) -> bytes:
        text = json.dumps(header | {name: header[name] | changes}).encode()
        return len(text).to_bytes(8, "little") + text + original[8 + length :]

    for content in (
        (2**63).to_bytes(8, "little") + original[8:],
        (2**40).to_bytes(8, "little") + original[8:],
        b"\xff" * 8,
        b"",
        b"\x10\0\0\0\0\0\0\0" + b"[" * 16,
        (10**6).to_bytes(8, "little") + b"[" * 10**6,
        lie(data_offsets=[0, 2**62]),
        lie(data_offsets=[-8, 3]),
        lie(data_offsets=[]),
        lie(data_offsets=["a", "b"]),
        lie(shape=[2**31, 2**31]),
        lie(shape="x"),
        lie(dtype="F8"),
        lie(dtype=[]),
    ):
        path.write_bytes(content)
        with pytest.raises(HemogatError, match=r"bank\.safetensors: "):
            map_tensors(path)


# bundle.json and SHA256SUMS: every path in them is tried in tests/runtime/test_bundle.py.
def test_a_link_out_of_the_bundle_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    path = bundle_copy / "tokenizer.json"
    path.rename(tmp_path / "elsewhere.json")  # the same content, so that its hash fits
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(HemogatError, match=rf"{path}: leads out of its folder"):
        Bundle.open(bundle_copy)
    path.unlink()
    (tmp_path / "elsewhere.json").rename(path)
    (bundle_copy.parent / "link").symlink_to(bundle_copy)
    Bundle.open(bundle_copy.parent / "link")  # the bundle itself may be reached through one


def test_golden_cases_stay_inside(bundle_copy: Path) -> None:
    from hemogat.runtime.golden import read_golden

    path = bundle_copy / "golden" / "golden.json"
    for audio in ("../../secret.wav", "/etc/passwd", "a/../../b.wav"):
        golden = json.loads(path.read_text())
        golden["cases"][0]["audio"] = audio
        path.write_text(json.dumps(golden))
        write_sums(bundle_copy)
        with pytest.raises(HemogatError, match="must be a relative path inside its folder"):
            read_golden(Bundle.open(bundle_copy))


def test_external_data_outside_of_the_bundle_is_not_read(bundle_copy: Path) -> None:
    """A graph names the file of its weights itself; hashes that were made to fit do not help."""
    import onnx

    path = bundle_copy / "fusion" / "onnx-fp32" / "model.onnx"
    for outside in ("../../../weights", "/etc/passwd"):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = outside
        (bundle_copy.parent / "weights").write_bytes(bytes(10**6))
        path.write_bytes(model.SerializeToString())
        write_sums(bundle_copy)
        with pytest.raises(HemogatError, match="cannot load it"):
            Pipeline.load(bundle_copy)


@pytest.mark.parametrize("audio", ["../secret.wav", "a/../../secret.wav", "..", "./../secret.wav"])
def test_a_manifest_does_not_reach_out_of_its_folder(tmp_path: Path, audio: str) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a").mkdir()
    (tmp_path / "secret.wav").write_bytes(b"")
    (folder / "m.csv").write_text(f"audio,text,label,speaker,split\n{audio},hi,sad,s,train\n")
    with pytest.raises(ManifestError, match="outside the manifest's folder"):
        read_manifest(folder / "m.csv")


def test_hashes_prove_integrity_not_origin(bundle_copy: Path) -> None:
    """Who alters a file and the list of hashes is believed, as the docs say."""
    (bundle_copy / "MODEL_CARD.md").write_text("by somebody else")
    write_sums(bundle_copy)
    Bundle.open(bundle_copy)
