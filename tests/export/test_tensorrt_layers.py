from __future__ import annotations

import json
from typing import Any

import pytest

from hemogat.export.tensorrt_layers import layer_types, missing_types


def information(*layers: Any) -> str:
    return json.dumps({"Layers": layers, "Bindings": ["x", "y"]})


def layer(key: str, kind: str, of: str = "gemm") -> dict[str, Any]:
    return {"LayerType": of, "Inputs": [{"Name": "x", key: kind}], "Outputs": []}


@pytest.mark.parametrize(
    ("key", "kind", "expected"),
    [
        ("Format/Datatype", "Half", "fp16"),
        ("Format/Datatype", "Row major linear FP16 format (kLINEAR)", "fp16"),
        ("Format/Datatype", "Float", "fp32"),
        ("Format/Datatype", "BFloat16", "bf16"),
        ("Format/Datatype", "Int8", "int8"),
        ("Datatype", "Half", "fp16"),
        ("DataType", "BF16", "bf16"),
    ],
)
def test_types_are_read_in_the_words_of_both_versions(key: str, kind: str, expected: str) -> None:
    counts = layer_types(information(layer(key, kind)))
    assert counts == dict.fromkeys(("bf16", "fp16", "fp32", "int8"), 0) | {expected: 1}


@pytest.mark.parametrize("kind", ["Int64", "Int32", "Bool", "UInt8"])
def test_other_types_do_not_count(kind: str) -> None:
    assert not any(layer_types(information(layer("Format/Datatype", kind))).values())


def test_layers_that_only_convert_prove_nothing() -> None:
    counts = layer_types(
        information(
            layer("Format/Datatype", "Half", "Reformat"),
            layer("Format/Datatype", "Half", "NoOp"),
            layer("Format/Datatype", "Float"),
        )
    )
    assert missing_types(counts, ["fp16"]) == ["fp16"]
    assert missing_types(counts, []) == []
    assert counts["fp32"] == 1


def test_names_alone_are_not_enough() -> None:
    with pytest.raises(ValueError, match="expected detailed layers"):
        layer_types(information("gemm_1"))
