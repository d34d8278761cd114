from __future__ import annotations

import json
from typing import Any

import pytest

from hemogat.errors import ServerError
from hemogat.serving.model_facts import ModelFacts

TOLD = {"labels": json.dumps(["calm", "sad"]), "bundle_sums": "ab12"}


def config(parameters: dict[str, str], **more: Any) -> dict[str, Any]:
    told = {key: {"string_value": value} for key, value in parameters.items()}
    return {"name": "hemogat", "max_batch_size": 16, "parameters": told} | more


def test_over_both_protocols() -> None:
    expected = ModelFacts(("calm", "sad"), 16, "ab12")
    assert ModelFacts.from_answer(config(TOLD), "a:1") == expected
    assert ModelFacts.from_answer({"config": config(TOLD)}, "a:1") == expected


def test_a_server_of_another_version_may_tell_more() -> None:
    told = TOLD | {"max_audio_bytes": "1000", "what_comes_later": "{}"}
    assert ModelFacts.from_answer(config(told), "a:1").max_audio_bytes == 1000


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "'parameters'"),
        ([], "AttributeError"),
        (config({}), "labels: "),
        (config({"labels": TOLD["labels"]}), "bundle_sums: "),
        (config(TOLD | {"labels": "calm"}), "labels: "),
        (config(TOLD | {"labels": "[]"}), "labels: "),
        (config(TOLD | {"max_audio_bytes": "many"}), "max_audio_bytes: "),
        (config(TOLD, max_batch_size=0), "max_batch_size: "),
        (config(TOLD) | {"parameters": {"labels": "calm"}}, "TypeError"),
    ],
)
def test_other_models_are_refused(answer: Any, reason: str) -> None:
    message = "a:1: its model hemogat is no hemogat model of a version that this client knows"
    with pytest.raises(ServerError, match=message) as refused:
        ModelFacts.from_answer(answer, "a:1")
    assert reason in str(refused.value)
