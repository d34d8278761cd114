from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hemogat.benchmarks import torch_runners
from hemogat.benchmarks.base_models import BaseModels
from hemogat.benchmarks.entries import Entry
from hemogat.benchmarks.epochs import SideBySideSettings
from hemogat.benchmarks.random_heads import build_head_of
from hemogat.benchmarks.rounds import RoundSettings
from hemogat.benchmarks.runners import GraphsRunner
from hemogat.benchmarks.side_by_side import measure_side_by_side
from hemogat.benchmarks.side_by_side_tables import latency_table
from hemogat.benchmarks.targets import Case, GraphsTarget, HeadShape, PresetTarget
from hemogat.config import GraphConfig, HeadConfig
from hemogat.model.bank import InductiveHead
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.runtime.bundle import Bundle, Dims
from hemogat.runtime.engine_session import Arrays
from hemogat.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def tiny_models(tiny_run: Path) -> BaseModels:
    shape = HeadShape(
        dims=Dims(audio=16, text=16), head=HeadConfig(hidden=16, heads=2), bank_rows=24
    )
    head, bank = build_head_of(shape)
    run = RunDirectory.open(tiny_run)
    audio, text = run.audio_encoder(), run.text_encoder()
    assert isinstance(audio, AudioEncoder)
    assert isinstance(text, TextEncoder)
    return BaseModels(audio, text, InductiveHead(head, bank, GraphConfig()).eval(), bank)


def test_torch_runs_each_part_and_the_whole(
    tiny_models: BaseModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_runners, "build_base_models", lambda rows: tiny_models)
    monkeypatch.setattr(torch_runners, "token_arrays", tiny_tokens)
    runner = torch_runners.PresetRunner(PresetTarget(bank_rows=24), None, "cpu")
    assert runner.opened.components == ("audio_encoder", "text_encoder", "fusion", "end_to_end")
    assert runner.opened.size_mib
    for component in runner.opened.components:
        runner.prepare(Case(component=component, batch=2, windows=3, tokens=4))()


def tiny_tokens(batch: int, tokens: int) -> Arrays:
    ids = np.ones((batch, tokens), np.int64)
    return {"input_ids": ids, "attention_mask": ids}


def test_the_authors_padding_reaches_the_encoder(
    tiny_models: BaseModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch_runners, "build_base_models", lambda rows: tiny_models)
    monkeypatch.setattr(torch_runners, "token_arrays", tiny_tokens)
    runner = torch_runners.PresetRunner(PresetTarget(padded_tokens=8), None, "cpu")
    assert runner.opened.components == ("text_encoder", "end_to_end")
    hook = tiny_models.text_encoder.register_forward_pre_hook(
        lambda module, given: seen.append((*given[0].shape, int(given[1].sum())))
    )
    runner.prepare(Case(component="text_encoder", tokens=3))()
    hook.remove()
    assert seen == [(1, 8, 3)]


def test_all_graphs_of_an_engine_run_one_after_the_other(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    target = GraphsTarget(
        paths={
            graph: bundle.graph_path(graph, "onnx", "fp32")
            for graph in ("audio_encoder", "text_encoder", "fusion")
        },
        engine="onnx",
        precision="fp32",
        shape=HeadShape(dims=bundle.manifest.dims, bank_rows=24),
    )
    runner = GraphsRunner(target, 1, "cpu")
    assert runner.opened.components[-2:] == ("end_to_end", "encoders")
    passed: list[Arrays] = []
    fusion = runner._sessions["fusion"]

    class Noted:
        def run(self, feeds: Arrays) -> Arrays:
            passed.append(feeds)
            return fusion.run(feeds)

    runner._sessions["fusion"] = Noted()  # type: ignore[assignment]
    ids = tiny_tokens(2, 8)
    whole = runner._whole(
        {
            "audio_encoder": {"windows": np.ones((6, 16_000), np.float32)},
            "text_encoder": ids,
            "fusion": {"present": np.ones((2, 2), np.bool_)},
        },
        batch=2,
    )
    assert whole["probabilities"].shape[0] == 2
    assert passed[0]["audio_embedding"].shape == passed[0]["text_embedding"].shape == (2, 16)


def test_ratios_are_to_every_base_of_the_group(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)

    def entry(name: str, group: str = "", *, base: bool = False) -> Entry:
        target = GraphsTarget(
            paths={"fusion": bundle.graph_path("fusion", "onnx", "fp32")},
            engine="onnx",
            precision="fp32",
            shape=HeadShape(dims=bundle.manifest.dims, bank_rows=24),
        )
        return Entry(name, target, group, base)

    few = RoundSettings(epochs=1, rounds=1, limit_s=0, turn_runs=1, warm_up_limit_s=0.01)
    settings = SideBySideSettings(cases=(Case(component="fusion"),), rounds=few, threads=(1,))
    entries = [entry("a", base=True), entry("b", base=True), entry("c"), entry("d", "other")]
    found = measure_side_by_side([*entries, entry("e", "other")], settings)
    ratios = {(f.target, f.axes["over"]) for f in found.figures if f.metric == "speed_up"}
    assert ratios == {("a", "b"), ("b", "a"), ("c", "a"), ("c", "b"), ("e", "d")}
    table = latency_table(found.figures)
    assert [c for c in table.right if c.startswith("speed-up over")] == [
        "speed-up over b",
        "speed-up over a",
        "speed-up over d",
    ]
