from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hemogat.errors import BundleError
from hemogat.runtime.bundle import MANIFEST_FILE, SUMS_FILE, Bundle, write_sums
from hemogat.runtime.bundle_sums import verify_files

Edit = Callable[[Path, Callable[[Any], None]], None]


def files_of(bundle: Path) -> list[str]:
    return sorted(p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file())


def refusal(bundle: Path | str) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_holds_what_the_design_says_and_hashes_all_of_it(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    listed = {
        name: digest
        for digest, name in (
            line.split("  ") for line in (tiny_bundle / SUMS_FILE).read_text().splitlines()
        )
    }
    assert sorted([*listed, SUMS_FILE]) == files_of(tiny_bundle)
    for name, digest in listed.items():
        assert hashlib.sha256((tiny_bundle / name).read_bytes()).hexdigest() == digest
    models = {
        f"{graph}/onnx-fp32/model.onnx{end}"
        for graph in ("audio_encoder", "text_encoder", "fusion")
        for end in ("", ".data")
    }
    singles = {"bundle.json", "tokenizer.json", "parity.json", "metrics.json", "MODEL_CARD.md"}
    bank = {"fusion/onnx-fp32/bank.safetensors", "bank/rows.json"}
    assert models | singles | bank <= set(listed)
    assert bundle.manifest.labels == ("angry", "calm", "sad")
    assert bundle.manifest.bank.rows == len(bundle.bank_index.labels) == 24


def test_every_file_of_a_bundle_can_be_read_by_others(tiny_bundle: Path) -> None:
    # A server runs as a user of its own.
    for path in (tiny_bundle, *tiny_bundle.rglob("*")):
        mode = path.stat().st_mode & 0o777
        assert mode == (0o755 if path.is_dir() else 0o644), path


def test_an_altered_file_is_named(bundle_copy: Path) -> None:
    for name in files_of(bundle_copy):
        path = bundle_copy / name
        original = path.read_bytes()
        middle = len(original) // 2
        path.write_bytes(original[:middle] + bytes([original[middle] ^ 1]) + original[middle + 1 :])
        message = refusal(bundle_copy)
        if name not in (SUMS_FILE, MANIFEST_FILE):  # these may be refused for what they now say
            assert f"{path}: is altered" in message
        path.write_bytes(original)
    Bundle.open(bundle_copy)


def test_a_missing_file_is_named(bundle_copy: Path) -> None:
    for name in files_of(bundle_copy):
        path = bundle_copy / name
        original = path.read_bytes()
        path.unlink()
        expected = (
            f"{bundle_copy}: is not a bundle" if name == MANIFEST_FILE else f"{path}: is missing"
        )
        assert expected in refusal(bundle_copy)
        path.write_bytes(original)
    Bundle.open(bundle_copy)


def test_a_file_without_a_hash_is_named(bundle_copy: Path) -> None:
    sums = bundle_copy / SUMS_FILE
    original = sums.read_text()
    for line in original.splitlines(keepends=True):
        sums.write_text(original.replace(line, ""))
        message = refusal(bundle_copy)
        assert line.split()[1] in message
        assert f"not in {SUMS_FILE}" in message


def test_a_file_that_was_added_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "fusion" / "plugin.so").write_bytes(b"\x7fELF")
    message = refusal(bundle_copy)
    assert "fusion/plugin.so" in message
    assert f"not in {SUMS_FILE}" in message


@pytest.mark.parametrize("version", [2, 0, "1", None, [1], {}])
def test_an_unknown_schema_version_is_refused(
    bundle_copy: Path, edit_json: Edit, version: object
) -> None:
    edit_json(bundle_copy / MANIFEST_FILE, lambda raw: raw.update(schema_version=version))
    message = refusal(bundle_copy)
    assert f"{bundle_copy / MANIFEST_FILE}: expected schema_version 1, found" in message
    assert repr(version) in message


def test_the_version_is_looked_at_before_anything_else(bundle_copy: Path, edit_json: Edit) -> None:
    def from_the_future(raw: Any) -> None:
        raw.clear()
        raw.update(schema_version=7, everything="new")

    edit_json(bundle_copy / MANIFEST_FILE, from_the_future)
    assert "found 7" in refusal(bundle_copy)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "", "."])
@pytest.mark.parametrize("field", ["tokenizer", "golden", "bank.tensors", "bank.index", "models"])
def test_a_path_out_of_the_bundle_is_refused(
    bundle_copy: Path, edit_json: Edit, field: str, path: str
) -> None:
    (bundle_copy.parent / "x").write_bytes(b"")

    def escape(raw: Any) -> None:
        if field == "models":
            raw["models"][0]["path"] = path
            return
        *outer, last = field.split(".")
        for key in outer:
            raw = raw[key]
        raw[last] = path

    edit_json(bundle_copy / MANIFEST_FILE, escape)
    message = refusal(bundle_copy)
    assert field in message
    assert "must be a relative path inside its folder" in message


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "fusion/../../x"])
def test_a_hash_of_a_file_outside_is_refused(bundle_copy: Path, name: str) -> None:
    (bundle_copy.parent / "x").write_bytes(b"")
    digest = hashlib.sha256(b"").hexdigest()
    with (bundle_copy / SUMS_FILE).open("a") as sums:
        sums.write(f"{digest}  {name}\n")
    message = refusal(bundle_copy)
    assert SUMS_FILE in message
    assert name in message


@pytest.mark.parametrize("content", [b"no hashes here\n", b"\xff\xfe\n", b"\n", b"abc\n"])
def test_hashes_that_are_none_are_refused(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / SUMS_FILE).write_bytes(content)
    assert f"{bundle_copy / SUMS_FILE}: is not a list of hashes" in refusal(bundle_copy)


def test_a_list_of_hashes_in_another_form_is_refused(bundle_copy: Path) -> None:
    sums = bundle_copy / SUMS_FILE
    good = sums.read_bytes()
    first, second, *rest = good.splitlines(keepends=True)
    for content in (
        good[:-1],  # the last line is cut off
        good.replace(b"\n", b"\x0b"),  # what str.splitlines() takes for an end of a line
        good.replace(b"\n", b"\r\n"),
        good.replace(b"  ", b" *"),
        good + first,
        first.replace(first[:64], b"0" * 64) + good,  # contradicts the next one
        b"".join((second, first, *rest)),
        good[:64].upper() + good[64:],
        good + b"\n",
        b"\xef\xbb\xbf" + good,
        b"",
    ):
        sums.write_bytes(content)
        assert f"{sums}: is not a list of hashes" in refusal(bundle_copy)
    sums.write_bytes(good)
    Bundle.open(bundle_copy)


def test_every_bit_of_a_list_of_hashes_counts(tmp_path: Path) -> None:
    for name in ("a", "b/c.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    write_sums(tmp_path)
    sums = tmp_path / SUMS_FILE
    good = sums.read_bytes()
    verify_files(tmp_path, ["a"])
    for bit in range(8 * len(good)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        sums.write_bytes(flipped)
        with pytest.raises(BundleError):
            verify_files(tmp_path, ["a"])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'"text"', b"[1]"])
def test_a_manifest_that_is_none_is_refused(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / MANIFEST_FILE).write_bytes(content)
    assert str(bundle_copy / MANIFEST_FILE) in refusal(bundle_copy)


def test_an_unknown_field_is_refused(bundle_copy: Path, edit_json: Edit) -> None:
    edit_json(bundle_copy / MANIFEST_FILE, lambda raw: raw["head"].update(magic=1))
    assert "head.magic" in refusal(bundle_copy)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "file"):
        message = refusal(path)
        assert message.startswith(f"{path}: is not a bundle")
        assert "hemogat export" in message


def test_what_cannot_be_read_is_refused() -> None:
    name = "x" * 300  # longer than a file name may be
    assert f"{name}/{MANIFEST_FILE}: cannot be read" in refusal(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(bundle_copy: Path) -> None:
    path = bundle_copy / "tokenizer.json"
    path.chmod(0)
    assert f"{path}: cannot be read" in refusal(bundle_copy)


def test_without_verifying_only_the_manifest_is_read(bundle_copy: Path) -> None:
    (bundle_copy / "tokenizer.json").write_bytes(b"altered")
    assert Bundle.open(bundle_copy, verify=False).manifest.name == "tiny"


def test_a_graph_that_a_bundle_does_not_have(bundle_copy: Path, edit_json: Edit) -> None:
    def drop_fusion(raw: Any) -> None:
        raw["models"] = [m for m in raw["models"] if m["graph"] != "fusion"]

    edit_json(bundle_copy / MANIFEST_FILE, drop_fusion)
    bundle = Bundle.open(bundle_copy)
    with pytest.raises(BundleError) as caught:
        bundle.graph_path("fusion", "onnx", "fp32")
    for part in (
        f"{bundle_copy}: has no fusion for onnx-fp32",
        "only audio_encoder onnx-fp32, text_encoder onnx-fp32",
        "hemogat export --engine onnx --precision fp32",
    ):
        assert part in str(caught.value)


def test_sums_list_subfolders_and_leave_themselves_out(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.bin").write_bytes(b"c")
    (tmp_path / "d").write_bytes(b"")
    write_sums(tmp_path)
    write_sums(tmp_path)
    lines = (tmp_path / SUMS_FILE).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a/b/c.bin", "d"]
    assert lines[1].startswith(hashlib.sha256(b"").hexdigest())


def test_the_manifest_says_what_a_reader_needs(tiny_bundle: Path) -> None:
    raw = json.loads((tiny_bundle / MANIFEST_FILE).read_text())
    assert raw["schema_version"] == 1
    assert (raw["graph"]["k_audio"], raw["graph"]["k_text"]) == (2, 3)
    assert raw["dims"] == {"audio": 16, "text": 16}
    assert {(m["graph"], m["engine"], m["precision"]) for m in raw["models"]} == {
        (graph, "onnx", "fp32") for graph in ("audio_encoder", "text_encoder", "fusion")
    }
    assert {"torch", "onnx", "onnxruntime", "python"} <= set(raw["provenance"]["versions"])


def test_a_bundle_names_no_training_file(tiny_bundle: Path, tiny_clips: Path) -> None:
    for path in tiny_bundle.rglob("*"):
        if path.is_file() and path.suffix != ".wav":
            content = path.read_bytes()
            assert b"speaker-train" not in content
            assert b"angry-0" not in content
            assert str(tiny_clips).encode() not in content
