from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from hemogat.config import GraphConfig
from hemogat.errors import ConfigError, InputError
from hemogat.training.authors_checkpoint import read_checkpoint

LABELS = ("angry", "happy", "neutral", "sad")
OUTGOING = GraphConfig(direction="outgoing")
State = dict[str, Any]


def test_the_sizes_of_the_paper_have_the_papers_parameters(
    authors: ModuleType, tmp_path: Path
) -> None:
    torch.save(authors.MultiModalGNN(512, 4, dims=(768, 768)).state_dict(), tmp_path / "a.pt")
    made = read_checkpoint(tmp_path / "a.pt")
    assert sum(p.numel() for p in made.head.parameters()) == 11_566_084
    config = made.head.config
    sizes = (config.hidden, config.heads, config.final_heads, config.num_layers, made.labels)
    assert sizes == (512, 4, 1, 3, 4)


def test_layers_as_older_releases_of_pytorch_geometric_named_them(
    authors: ModuleType, tmp_path: Path
) -> None:
    state = authors.MultiModalGNN().state_dict()
    old = {key.replace(".lin.", ".lin_src."): value for key, value in state.items()}
    old |= {k.replace("_src.w", "_dst.w"): v for k, v in old.items() if "lin_src" in k}
    assert len(old) == len(state) + 3
    torch.save(state, tmp_path / "new.pt")
    torch.save(old, tmp_path / "old.pt")
    new, renamed = (read_checkpoint(tmp_path / f"{name}.pt").head for name in ("new", "old"))
    for key, value in new.state_dict().items():
        assert torch.equal(value, renamed.state_dict()[key]), key

    old["gnn.conv1.lin_dst.weight"] = old["gnn.conv1.lin_dst.weight"] + 1
    torch.save(old, tmp_path / "old.pt")
    with pytest.raises(InputError, match=r"gnn\.conv1\.lin_dst\.weight is not expected"):
        read_checkpoint(tmp_path / "old.pt")


def without(*keys: str) -> Callable[[State], object]:
    return lambda state: {key: value for key, value in state.items() if key not in keys}


def with_(key: str, change: Callable[[Tensor], object]) -> Callable[[State], object]:
    return lambda state: state | {key: change(state.get(key, torch.zeros(2)))}


def without_layer(number: int) -> Callable[[State], object]:
    return lambda s: {k: v for k, v in s.items() if not k.startswith(f"gnn.convs.{number}.")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("mlp.4.weight"), "mlp.4.weight is missing"),
        (without("gnn.conv1.att_src"), "gnn.conv1.att_src is missing"),
        (without("gnn.batch_norm.running_var"), "gnn.batch_norm.running_var is missing"),
        (
            without("cross_fusion.text_linear.bias", "cross_fusion.text_linear.weight"),
            "cross_fusion.text_linear.weight is missing (and 1 more)",
        ),
        (without_layer(0), "gnn.convs.0.att_src is missing (and 3 more)"),
        (with_("extra.weight", lambda v: v), "extra.weight is not expected"),
        (with_("extra\nweight", lambda v: v), "extra weight is not expected"),
        (with_("gnn.convs.0.lin.weight", lambda v: v[:-1]), "gnn.convs.0.lin.weight: expected [32"),
        (with_("mlp.4.bias", lambda v: v[:3]), "mlp.4.bias: expected [4], found [3]"),
        (with_("mlp.4.weight", lambda v: v[0]), "mlp.4.weight: expected 2 axes, found [16]"),
        (with_("mlp.1.weight", lambda v: v.long()), "mlp.1.weight: expected plain torch.float32"),
        (with_("mlp.1.weight", lambda v: v.to_sparse()), "mlp.1.weight: expected plain"),
        (with_("mlp.1.weight", lambda v: v.to("meta")), "mlp.1.weight: expected plain"),
        (with_("mlp.1.weight", lambda v: v / 0), "mlp.1.weight: holds values that are not finite"),
        (with_("mlp.1.weight", lambda v: 3), "found int at 'mlp.1.weight'"),
        (lambda state: {"model_state_dict": state}, "found dict at 'model_state_dict'"),
        (
            lambda state: {("a", torch.zeros(9, 9)): state},
            "found dict at a key that is tuple; save",
        ),
        (lambda state: list(state.values()), "expected a state dict, found list"),
        (lambda state: {}, "expected a state dict"),
        (lambda state: torch.zeros(3), "expected a state dict, found Tensor"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_key(
    authors: ModuleType, tmp_path: Path, change: Callable[[State], object], message: str
) -> None:
    state = authors.MultiModalGNN(layers=4).state_dict()
    torch.save(change(dict(state)), tmp_path / "a.pt")
    with pytest.raises(InputError) as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'a.pt'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_that_the_head_does_not_have(authors: ModuleType, tmp_path: Path) -> None:
    torch.save(authors.MultiModalGNN(layers=5).state_dict(), tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"a\.pt: num_layers: .* less than or equal to 4"):
        read_checkpoint(tmp_path / "a.pt")


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_checkpoint_is_refused_by_name(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pt"
    torch.save(
        {"mlp.4.weight": Malicious(tmp_path / "ran")},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(InputError, match=rf"it calls for {os.name}\.mkdir") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04junk", pickle.dumps(["a"], 2)])
def test_what_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pt: expected a state dict") as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"no\.pt: cannot be read"):
        read_checkpoint(tmp_path / "no.pt")
