from __future__ import annotations

import sys
from importlib.metadata import metadata
from types import SimpleNamespace

import pytest

from hemogat import doctor
from hemogat.doctor import CORE, diagnose, find_extras
from hemogat.machine import Gpu
from hemogat.optional import pip_line

GPU = Gpu("NVIDIA H200", 143771, "580.65", "9.0")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the versions that count as installed, to be filled in."""
    versions: dict[str, str] = {"hemogat": "0.1.0"}
    monkeypatch.setattr(doctor, "installed_version", versions.get)
    return versions


def test_every_declared_extra_is_there() -> None:
    extras = {extra.name: extra for extra in find_extras()}
    assert set(extras) == {CORE, *metadata("hemogat").get_all("Provides-Extra")}
    assert extras[CORE].complete
    assert "numpy" in {package.name for package in extras[CORE].packages}


def test_an_extra_is_complete_with_all_that_it_includes(installed: dict[str, str]) -> None:
    own = next(extra for extra in find_extras() if extra.name == "export")
    assert own.includes == ("train",)
    installed.update({package.name: "1" for package in own.packages})
    assert not next(extra for extra in find_extras() if extra.name == "export").complete
    included = next(extra for extra in find_extras() if extra.name == "train")
    installed.update({package.name: "1" for package in included.packages})
    assert next(extra for extra in find_extras() if extra.name == "export").complete


def test_what_excludes_an_extra_is_uninstalled_first(installed: dict[str, str]) -> None:
    def lines() -> dict[str, str]:
        return {extra.name: extra.add_with for extra in find_extras()}

    assert lines()["gpu"] == pip_line("gpu")
    installed["onnxruntime"] = "1.32.0"
    assert lines()["gpu"] == f"pip uninstall -y onnxruntime && {pip_line('gpu')}"
    assert lines()["cpu"] == pip_line("cpu")
    assert lines()[CORE] == pip_line()


@pytest.mark.parametrize(
    ("versions", "warning"),
    [
        ({"numpy": "2.1.0", "nvidia-pytriton": "0.7.0"}, "misreads BYTES"),
        ({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}, "overwrite each other"),
    ],
)
def test_warns_of_what_does_not_go_together(
    installed: dict[str, str], versions: dict[str, str], warning: str
) -> None:
    for name, version in versions.items():
        assert diagnose().warnings == ()
        installed[name] = version
    (found,) = diagnose().warnings
    assert warning in found


def engines(gpus: tuple[Gpu, ...]) -> dict[str, doctor.Engine]:
    return {engine.name: engine for engine in doctor._engines(gpus)}


def test_engines_of_gpus_need_one() -> None:
    found = engines(())
    assert not found["ONNX Runtime, CUDA"].can_run
    assert not found["TensorRT"].can_run
    assert "no GPU" in found["TensorRT"].detail


def test_an_engine_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnxruntime", "openvino", "tensorrt"):
        monkeypatch.setitem(sys.modules, module, None)
    found = engines((GPU,))
    extras = ("cpu", "gpu", "openvino", "trt")
    for engine, extra in zip(found.values(), extras, strict=True):
        assert not engine.can_run
        assert pip_line(extra) in engine.detail


def test_an_engine_that_is_not_used_yet_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", SimpleNamespace(__version__="2026.4"))
    found = engines(())["OpenVINO"]
    assert not found.can_run
    assert "2026.4 is installed" in found.detail


def test_an_engine_is_tried() -> None:
    pytest.importorskip("onnxruntime")
    assert engines(())["ONNX Runtime, CPU"].can_run


def test_the_report_survives_json() -> None:
    diagnosis = diagnose()
    assert doctor.Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis
