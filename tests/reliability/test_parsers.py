"""Bent files: a result or a refusal of one line, never another exception.

Coverage-guided, and for longer: ``make fuzz``. Audio: tests/data/test_audio.py.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reliability.mutation import mutated, mutated_json, nested
from reliability.parser import Parser, parse
from reliability.parsers import parsers

many = settings(
    max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def known(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    return parsers(tmp_path_factory.mktemp("parsers"), tiny_bundle)


@pytest.mark.parametrize("name", ["bundle", "manifest", "checkpoint", "features"])
@many
@given(seed=seeds)
def test_bent_bytes(known: dict[str, Parser], name: str, seed: int) -> None:
    random = Random(seed)
    parse(known[name], mutated(random.choice(known[name].seeds), random))


@pytest.mark.parametrize("name", ["bundle", "manifest", "checkpoint", "features"])
@many
@given(content=st.binary(max_size=300))
@example(b"")
@example(nested(100_000))
@example(nested(100_000, b'{"a":', b"}"))
@example(b"9" * 10_000)
@example(b"\xef\xbb\xbf")
@example(b'"' * 200_000)
@example(b"a" * 200_000)
@example(b"\x80\x04" + b"(" * 100_000 + b".")
@example(b"\x80\x04" + b"]" + b"(" * 100_000 + b"e." * 10)
def test_invented_bytes(known: dict[str, Parser], name: str, content: bytes) -> None:
    parse(known[name], content)


@settings(many, max_examples=500)
@given(seed=seeds)
def test_a_bundles_facts_of_other_kinds(known: dict[str, Parser], seed: int) -> None:
    parse(known["bundle"], mutated_json(known["bundle"].seeds[0], Random(seed)))


@settings(many, max_examples=40)
@given(seed=seeds)
def test_a_bundle_whose_facts_contradict_its_graphs(known: dict[str, Parser], seed: int) -> None:
    parse(known["pipeline"], mutated_json(known["pipeline"].seeds[0], Random(seed)))


@many
@given(
    rows=st.lists(
        st.lists(st.text(st.characters(codec="utf-8"), max_size=12), max_size=9), max_size=5
    )
)
def test_any_table_as_a_manifest(known: dict[str, Parser], rows: list[list[str]]) -> None:
    lines = ["audio,text,label,speaker,split", *(",".join(row) for row in rows)]
    parse(known["manifest"], "\n".join(lines).encode())
