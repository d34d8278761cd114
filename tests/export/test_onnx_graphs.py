from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from hemogat.config import (
    BertSize,
    GraphConfig,
    HeadConfig,
    TextConfig,
    TextEncoderConfig,
)
from hemogat.contract import (
    AUDIO_ENCODER,
    DYNAMIC_AXES,
    FUNCTION_DOMAIN,
    TEXT_ENCODER,
    TOPK_FUNCTION,
    GraphSpec,
    fusion_spec,
)
from hemogat.errors import ConfigError, HemogatError
from hemogat.export.onnx_graphs import (
    FORBIDDEN_OPERATORS,
    export_audio_encoder,
    export_fusion,
    export_text_encoder,
    save,
)
from hemogat.model.bank import Bank, Embeddings, InductiveHead, freeze_bank
from hemogat.model.encoders import AudioEncoder, build_text_encoder
from hemogat.model.head import FusionHead
from hemogat.runtime.bundle import Bundle
from hemogat.training.run_directory import RunDirectory

AUDIO_DIM, TEXT_DIM, LABELS, BANK = 7, 9, 3, 14
GRAPH = GraphConfig(k_audio=3, k_text=2)
VARIANTS: dict[str, tuple[dict[str, Any], int]] = {
    "gat": ({"modality_dropout": 0.2, "final_heads": 2}, 20),
    "gcn, audio": ({"gnn": "gcn", "modalities": "audio", "num_layers": 1}, 18),
    "sage, text": ({"gnn": "sage", "modalities": "text", "modules": "no_cmt"}, 23),
    "no_gnn": ({"modules": "no_gnn"}, 20),
}
SIZES = {"audio_dim": AUDIO_DIM, "text_dim": TEXT_DIM, "label": LABELS}
ELEMENT_TYPES = {"float32": "FLOAT", "int64": "INT64", "bool": "BOOL"}


@dataclass(frozen=True)
class Exported:
    path: Path
    opset: int
    spec: GraphSpec
    reference: nn.Module
    sizes: dict[str, int]

    def model(self) -> onnx.ModelProto:
        return onnx.load(self.path)

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        names = {i.name for i in session.get_inputs()}
        values = session.run(None, {name: feeds[name] for name in names})
        return dict(zip((o.name for o in session.get_outputs()), values, strict=True))


def randomise(module: nn.Module) -> None:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point():
            nn.init.uniform_(value, *((0.5, 1.5) if "var" in name else (-0.5, 0.5)))


def make_head(**settings: Any) -> tuple[FusionHead, Bank]:
    torch.manual_seed(0)
    config = HeadConfig.model_validate({"hidden": 8, "heads": 4} | settings)
    head = FusionHead(AUDIO_DIM, TEXT_DIM, LABELS, config).eval()
    randomise(head)
    audio, text = torch.randn(BANK, AUDIO_DIM), torch.randn(BANK, TEXT_DIM)
    present = torch.ones(BANK, 2, dtype=torch.bool)
    if config.modality_dropout:
        present[3, 0] = present[6, 1] = False
    return head, freeze_bank(head, Embeddings(audio, text, present), GRAPH)


@pytest.fixture(scope="module", params=list(VARIANTS))
def fusion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    settings, opset = VARIANTS[request.param]
    head, bank = make_head(**settings)
    path = export_fusion(head, bank, GRAPH, tmp_path_factory.mktemp("fusion"), opset)
    reference = InductiveHead(head, bank, GRAPH).eval()
    slots = reference.graph.slots
    sizes = SIZES | {"slot": slots, "slot_and_self": slots + 1}
    spec = fusion_spec(slots, attention=head.config.gnn == "gat")
    return Exported(path, opset, spec, reference, sizes)


@pytest.fixture(scope="module")
def audio_encoder(tiny_run: Path, tiny_bundle: Path) -> Exported:
    encoder = RunDirectory.open(tiny_run).audio_encoder()
    path = Bundle.open(tiny_bundle).graph_path("audio_encoder", "onnx", "fp32")
    return Exported(path, 20, AUDIO_ENCODER, encoder, {"audio_dim": 16})


@pytest.fixture(scope="module", params=["mean", "pooler"])
def text_encoder(
    request: pytest.FixtureRequest,
    tiny_run: Path,
    tiny_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    if request.param == "mean":
        encoder = RunDirectory.open(tiny_run).text_encoder()
        path = Bundle.open(tiny_bundle).graph_path("text_encoder", "onnx", "fp32")
        return Exported(path, 20, TEXT_ENCODER, encoder, {"text_dim": 16})
    torch.manual_seed(0)
    size = BertSize(width=16, layers=1, heads=2)
    config = TextConfig(pooling="pooler", max_tokens=32, token_buckets=(16, 32))
    encoder = build_text_encoder(TextEncoderConfig(scratch=size), config, vocab_size=50).eval()
    randomise(encoder)
    path = export_text_encoder(encoder, tmp_path_factory.mktemp("text"), 20)
    return Exported(path, 20, TEXT_ENCODER, encoder, {"text_dim": 16})


def assert_keeps_the_contract(exported: Exported) -> None:
    model, spec = exported.model(), exported.spec
    onnx.checker.check_model(str(exported.path), full_check=True)
    assert model.ir_version == 10
    assert {o.domain: o.version for o in model.opset_import}[""] == exported.opset <= 23
    values, tensors = (*model.graph.input, *model.graph.output), (*spec.inputs, *spec.outputs)
    for value, tensor in zip(values, tensors, strict=True):
        assert value.name == tensor.name
        kind = value.type.tensor_type
        assert onnx.TensorProto.DataType.Name(kind.elem_type) == ELEMENT_TYPES[tensor.dtype]
        for dim, axis in zip(kind.shape.dim, tensor.axes, strict=True):
            if axis in DYNAMIC_AXES:
                assert dim.dim_param == axis
            else:
                assert dim.dim_value == exported.sizes.get(str(axis), axis)
    named = {d.dim_param for v in model.graph.value_info for d in v.type.tensor_type.shape.dim}
    assert named - {""} <= DYNAMIC_AXES


def assert_runs_everywhere(exported: Exported) -> None:
    model = exported.model()
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        assert not FORBIDDEN_OPERATORS & {node.op_type for node in nodes}
        assert not [a.name for n in nodes for a in n.attribute if a.HasField("g") or a.graphs]
    assert {node.domain for node in model.graph.node} <= {"", FUNCTION_DOMAIN}


def assert_tells_nothing_of_the_machine(exported: Exported) -> None:
    content = exported.path.read_bytes()
    for trace in (b".py", b"site-packages", b"Traceback", str(Path.cwd()).encode()):
        assert trace not in content
    assert str(exported.path.parent).encode() not in content
    assert b"torch" not in content


def test_fusion_graphs_keep_the_contract(fusion: Exported) -> None:
    assert_keeps_the_contract(fusion)
    assert_runs_everywhere(fusion)
    assert_tells_nothing_of_the_machine(fusion)


def test_encoder_graphs_keep_the_contract(audio_encoder: Exported, text_encoder: Exported) -> None:
    for exported in (audio_encoder, text_encoder):
        assert_keeps_the_contract(exported)
        assert_runs_everywhere(exported)
        assert_tells_nothing_of_the_machine(exported)


def test_the_graph_step_is_one_call_of_a_local_function(fusion: Exported) -> None:
    model, slots = fusion.model(), fusion.sizes["slot"]
    calls = [node for node in model.graph.node if node.domain == FUNCTION_DOMAIN]
    functions = [(f.domain, f.name) for f in model.functions]
    if slots == 0:
        assert calls == []
        assert functions == []
        return
    assert functions == [(FUNCTION_DOMAIN, TOPK_FUNCTION)]
    (call,) = calls
    assert call.op_type == TOPK_FUNCTION
    k = {attribute.name: list(attribute.ints) for attribute in call.attribute}
    assert k["k_audio"][0] + k["k_text"][0] == slots


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_fusion_equals_the_reference(fusion: Exported, batch: int) -> None:
    torch.manual_seed(batch)
    audio, text = torch.randn(batch, AUDIO_DIM), torch.randn(batch, TEXT_DIM)
    whole = torch.ones(batch, 2, dtype=torch.bool)
    cases = [whole]
    if fusion.reference.head.missing:  # type: ignore[union-attr]
        partly = whole.clone()
        partly[0, 0] = partly[-1, 1] = False
        partly[0, 1] = True
        cases.append(partly)
    for present in cases:
        expected = fusion.reference(audio, text, present)._asdict()
        found = fusion.run(
            {
                "audio_embedding": audio.numpy(),
                "text_embedding": text.numpy(),
                "present": present.numpy(),
            }
        )
        assert set(found) == {tensor.name for tensor in fusion.spec.outputs}
        for name, value in found.items():
            if name == "neighbours":
                assert_array_equal(value, expected[name])
            else:
                assert_allclose(value, expected[name].detach(), atol=1e-5)


def test_an_exported_answer_does_not_depend_on_the_batch(fusion: Exported) -> None:
    random = np.random.default_rng(0)
    feeds = {
        "audio_embedding": random.standard_normal((6, AUDIO_DIM)).astype(np.float32),
        "text_embedding": random.standard_normal((6, TEXT_DIM)).astype(np.float32),
        "present": np.ones((6, 2), bool),
    }
    together = fusion.run(feeds)
    for row in range(6):
        alone = fusion.run({name: value[row : row + 1] for name, value in feeds.items()})
        for name, value in alone.items():
            assert_allclose(value, together[name][row : row + 1], atol=1e-6)


@pytest.mark.parametrize("windows", [1, 3])
def test_the_audio_encoder_equals_the_reference(audio_encoder: Exported, windows: int) -> None:
    torch.manual_seed(windows)
    x = torch.randn(windows, 16_000) * torch.logspace(-3, 1, windows)[:, None]
    x[-1, 4_000:] = 0  # padded, as an utterance shorter than a window is
    expected = audio_encoder.reference(x).detach()
    found = audio_encoder.run({"windows": x.numpy()})["audio_embedding"]
    assert_allclose(found, expected, atol=2e-5)
    silence = audio_encoder.run({"windows": np.zeros((1, 16_000), np.float32)})
    assert np.isfinite(silence["audio_embedding"]).all()


@pytest.mark.parametrize(("batch", "tokens"), [(1, 16), (3, 32)])
def test_the_text_encoder_equals_the_reference(
    text_encoder: Exported, batch: int, tokens: int
) -> None:
    torch.manual_seed(batch)
    ids = torch.randint(text_encoder.reference.backbone.config.vocab_size, (batch, tokens))
    mask = (torch.arange(tokens) < torch.randint(2, tokens, (batch, 1))).long()
    expected = text_encoder.reference(ids, mask).detach()
    found = text_encoder.run({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    assert_allclose(found["text_embedding"], expected, atol=2e-5)


def test_a_bank_too_small_for_k_is_not_exported(tmp_path: Path) -> None:
    head, bank = make_head()
    with pytest.raises(ConfigError, match=r"graph\.k_text is 15, but only 14 utterances"):
        export_fusion(head, bank, GraphConfig(k_audio=3, k_text=15), tmp_path / "new", 20)
    assert not (tmp_path / "new").exists()


class Scattering(AudioEncoder):
    def forward(self, windows: Tensor) -> Tensor:
        embedding = windows[:, :16].clone()
        return embedding.index_put((torch.tensor([0]),), torch.zeros(16))


class NotPooled(AudioEncoder):
    def forward(self, windows: Tensor) -> Tensor:
        return windows[:, :16, None]


class OneForAll(AudioEncoder):
    def forward(self, windows: Tensor) -> Tensor:
        return windows[:, :16].mean(dim=0, keepdim=True)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Scattering, "audio_encoder: node .* is a Scatter"),
        (NotPooled, "audio_encoder: exported audio_embedding .* expected audio_embedding"),
        (OneForAll, "audio_encoder: axis window of audio_embedding was exported as 1"),
    ],
)
def test_a_graph_outside_the_contract_is_refused(
    kind: type[AudioEncoder], message: str, tmp_path: Path
) -> None:
    backbone = nn.Identity()
    backbone.config = SimpleNamespace(model_type="another")  # type: ignore[assignment]
    with pytest.raises(HemogatError, match=message):
        export_audio_encoder(kind(backbone), tmp_path / "new", 20)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_an_operator_that_not_every_engine_runs_is_found_inside_a_function(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    model = ir.load(tiny_bundle / "fusion" / "onnx-fp32" / "model.onnx")
    spec = fusion_spec(5, attention=True)
    (function,) = model.functions.values()
    where = ir.node("NonZero", [function.inputs[0]], name="hidden")
    function.append(where)
    with pytest.raises(HemogatError, match="fusion: node hidden is a NonZero"):
        save(model, spec, tmp_path)
    assert not list(tmp_path.iterdir())
