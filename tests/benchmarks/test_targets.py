from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.benchmarks.targets import (
    TARGET,
    BundleTarget,
    Case,
    RunTarget,
    ServedTarget,
    engine_name,
    named,
    parse_target,
    place_of,
)
from hemogat.errors import BundleError, ConfigError, InputError


def test_targets_as_the_command_line_gives_them(tiny_bundle: Path, tiny_run: Path) -> None:
    bundle = parse_target(f"{tiny_bundle}:onnx-fp32")
    assert bundle == parse_target(str(tiny_bundle))
    assert bundle == BundleTarget(path=tiny_bundle, engine="onnx", precision="fp32")
    assert parse_target(str(tiny_run)) == RunTarget(path=tiny_run)
    assert parse_target(f"{tiny_run}:compile") == RunTarget(path=tiny_run, compiled=True)
    graphs = parse_target(f"{tiny_run}:cuda-graphs")
    assert graphs == RunTarget(path=tiny_run, compiled=True, cuda_graphs=True)
    assert engine_name(graphs) == "torch-cuda-graphs"
    served = parse_target("http://127.0.0.1:8000")
    assert isinstance(served, ServedTarget)
    assert engine_name(served) == "triton-http"
    assert TARGET.validate_json(TARGET.dump_json(bundle)) == bundle


def test_what_is_no_target_is_refused(tiny_bundle: Path, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a bundle"):
        parse_target(str(tmp_path))
    with pytest.raises(InputError, match="found 'onxn-fp32'"):
        parse_target(f"{tiny_bundle}:onxn-fp32")
    with pytest.raises(BundleError, match="hemogat export --engine trt"):
        parse_target(f"{tiny_bundle}:trt-fp16")
    with pytest.raises(InputError, match="RUN:compile"):
        parse_target(f"{tiny_run}:eager")


def test_names_tell_targets_apart_without_naming_the_disk() -> None:
    here = RunTarget(path=Path("/somewhere/demo/run"))
    there = RunTarget(path=Path("/somewhere/else/meld"))
    assert list(named([here])) == ["torch-eager"]
    assert list(named([here, there])) == ["demo torch-eager", "meld torch-eager"]
    assert place_of(RunTarget(path=Path("/run"))) == "run"  # as a container has it
    with pytest.raises(ConfigError, match="demo torch-eager more than once"):
        named([here, here])


def test_a_case_names_what_its_component_depends_on() -> None:
    assert set(Case(component="fusion").axes) == {"component", "batch"}
    assert set(Case(component="audio_encoder").axes) == {"component", "batch", "windows"}
    assert set(Case().axes) == {"component", "batch", "windows", "tokens"}
