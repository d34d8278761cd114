"""A session's code path, against the names of both versions and memory of the host."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from hemogat.errors import BundleError, IncompleteError, InputError
from hemogat.runtime.tensorrt_plan import PlanRecord, record_path
from hemogat.runtime.tensorrt_session import TensorRTSession

WIDTH, LARGEST = 4, 3
NEEDED = (
    ("DataType", "FLOAT"),
    ("ICudaEngine", "create_execution_context"),
    ("ICudaEngine", "get_tensor_dtype"),
    ("ICudaEngine", "get_tensor_mode"),
    ("ICudaEngine", "get_tensor_name"),
    ("ICudaEngine", "num_io_tensors"),
    ("IExecutionContext", "execute_async_v3"),
    ("IExecutionContext", "get_tensor_shape"),
    ("IExecutionContext", "set_input_shape"),
    ("IExecutionContext", "set_tensor_address"),
    ("Runtime", "deserialize_cuda_engine"),
    ("TensorIOMode", "OUTPUT"),
)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "model.plan"
    path.write_bytes(b"plan")
    record = PlanRecord.model_validate(
        {
            "tensorrt": "11.4.0.106",
            "gpu": "NVIDIA H200",
            "compute_capability": "9.0",
            "hardware_compatibility": "none",
            "precision": "fp16",
            "profile": {
                "windows": {
                    "smallest": (1, WIDTH),
                    "typical": (2, WIDTH),
                    "largest": (LARGEST, WIDTH),
                }
            },
            "onnx": {},
            "layers": {},
        }
    )
    record_path(path).write_text(record.model_dump_json())
    return path


class Doubling:
    """An engine that gives ``doubled`` = 2 * ``windows``, where it finds them in memory."""

    def __init__(self, api: Any) -> None:
        self.rows: list[int] = []
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        kinds = api.module.TensorIOMode
        modes = {"windows": kinds.INPUT, "doubled": getattr(kinds, "OUTPUT", None)}
        if hasattr(api.engine, "num_io_tensors"):
            api.engine.num_io_tensors = 2
        for mock, name, action in (
            (api.engine, "get_tensor_name", list(modes).__getitem__),
            (api.engine, "get_tensor_mode", modes.__getitem__),
            (api.engine, "get_tensor_dtype", lambda _: api.module.DataType.FLOAT),
            (api.context, "set_input_shape", self._set_shape),
            (api.context, "get_tensor_shape", lambda _: self._shape),
            (api.context, "set_tensor_address", self._addresses.__setitem__),
            (api.context, "execute_async_v3", self._execute),
        ):
            if hasattr(mock, name):
                getattr(mock, name).side_effect = action

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return True

    def _execute(self, stream: int) -> bool:
        assert isinstance(stream, int)
        self.rows.append(self._shape[0])
        count = int(np.prod(self._shape))
        windows, doubled = (
            np.ctypeslib.as_array((ctypes.c_float * count).from_address(self._addresses[name]))
            for name in ("windows", "doubled")
        )
        doubled[:] = 2 * windows
        return True


@pytest.fixture
def install(tensorrt_api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(names: dict[str, list[str]]) -> tuple[Any, Doubling]:
        api = tensorrt_api.FakeTensorRT("11.4.0.106", names)
        monkeypatch.setitem(sys.modules, "tensorrt", api.module)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", tensorrt_api.HostCuda())
        return api, Doubling(api)

    return put


@pytest.fixture
def fake(install: Any, tensorrt_api: ModuleType) -> tuple[Any, Doubling]:
    made: tuple[Any, Doubling] = install(tensorrt_api.names_of("11.4.0.106"))
    return made


@pytest.mark.parametrize("source", ["10.16.1.11", "11.4.0.106", "installed"])
def test_a_session_needs_no_name_that_a_version_lacks(
    source: str, install: Any, tensorrt_api: ModuleType, plan: Path, tmp_path: Path
) -> None:
    if source == "installed":
        names = tensorrt_api.names_of_bindings(tmp_path)[1]
    else:
        names = tensorrt_api.names_of(source)
    _, engine = install(names)
    session = TensorRTSession(plan)
    assert (session.inputs, session.outputs) == (("windows",), ("doubled",))
    windows = np.arange(7 * WIDTH, dtype=np.float32).reshape(7, WIDTH)
    assert_array_equal(session.run({"windows": windows})["doubled"], 2 * windows)
    assert engine.rows == [3, 3, 1]  # no more at once than the plan takes


@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_a_name_that_a_version_lacks_fails(
    kind: str, name: str, install: Any, tensorrt_api: ModuleType, plan: Path
) -> None:
    names = tensorrt_api.names_of("11.4.0.106")
    names[kind].remove(name)
    with pytest.raises(AttributeError, match=name):
        _run_once(install, names, plan)


def _run_once(install: Any, names: dict[str, list[str]], plan: Path) -> None:
    install(names)
    TensorRTSession(plan).run({"windows": np.zeros((1, WIDTH), np.float32)})


def test_a_shape_outside_the_profile_is_refused(fake: Any, plan: Path) -> None:
    session = TensorRTSession(plan)
    with pytest.raises(InputError, match=r"windows: expected a shape from \(1, 4\) to \(3, 4\)"):
        session.run({"windows": np.zeros((1, 5), np.float32)})


def test_device_memory_goes_with_the_session(fake: Any, plan: Path) -> None:
    memory = sys.modules["cuda.bindings.runtime"].memory  # type: ignore[attr-defined]
    session = TensorRTSession(plan)
    assert len(memory) == 2
    del session
    gc.collect()
    assert memory == {}


def test_a_plan_that_tensorrt_cannot_load_is_an_error(fake: Any, plan: Path) -> None:
    api, _ = fake

    def fail(_: bytes) -> None:
        api.loggers[-1].log(api.module.ILogger.ERROR, "bad magic")

    api.runtime.deserialize_cuda_engine.side_effect = fail
    with pytest.raises(BundleError, match=r"TensorRT cannot load it \(bad magic\)"):
        TensorRTSession(plan)


def test_a_failed_run_is_an_error(fake: Any, plan: Path) -> None:
    session = TensorRTSession(plan)
    fake[0].context.execute_async_v3.side_effect = lambda stream: False
    with pytest.raises(BundleError, match=r"TensorRT cannot run it \(no message\)"):
        session.run({"windows": np.zeros((1, WIDTH), np.float32)})


def test_without_a_gpu_it_says_so(fake: Any, plan: Path) -> None:
    sys.modules["cuda.bindings.runtime"].devices = 0  # type: ignore[attr-defined]
    with pytest.raises(IncompleteError, match=r"found none \(cudaErrorNoDevice\)"):
        TensorRTSession(plan)
