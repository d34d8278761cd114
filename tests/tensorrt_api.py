"""TensorRT's Python API as its bindings name it, and a CUDA runtime in host memory.

Names come from lists, one per version: what a version does not name cannot be read, called or
set. Nothing is computed but what a test gives.
"""

from __future__ import annotations

import ctypes
import enum
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import NonCallableMagicMock

import numpy as np
import pytest

Names = dict[str, list[str]]
VERSIONS = ("10.16.1.11", "11.4.0.106")
_NAMES = Path(__file__).with_name("tensorrt_names")
_ENUMS = (
    "BuilderFlag",
    "DataType",
    "HardwareCompatibilityLevel",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorIOMode",
)
# What the real library's entry points are called: enough of it to import the bindings.
_ENTRY_POINTS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    "getInferLibVersion",
    "getLogger",
)
_DUMP = """
import ctypes, glob, json, sys
for path in glob.glob(sys.argv[1] + "/*.so.*"):
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
import tensorrt_bindings as trt
print(json.dumps({name: dir(getattr(trt, name)) for name in sys.argv[2:]}))
"""


def names_of(version: str) -> Names:
    """Return the names of a version, per class."""
    names: Names = json.loads((_NAMES / f"{version}.json").read_text())
    return names


def names_of_bindings(folder: Path) -> tuple[str, Names]:
    """Return version and names of the real bindings, imported over an empty library."""
    from importlib.metadata import distributions

    found = {d.name.replace("-", "_"): d.version for d in distributions()}
    version = next((v for n, v in found.items() if n.startswith("tensorrt_cu")), None)
    if version is None:
        pytest.skip("the TensorRT bindings are not installed")
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _ENTRY_POINTS))
    major = version.split(".")[0]
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        name = f"lib{library}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source]
        subprocess.run(command, check=True)
    classes = sorted(names_of(VERSIONS[0]))
    dump = [sys.executable, "-c", _DUMP, str(folder), *classes]
    done = subprocess.run(dump, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return version, json.loads(done.stdout)


class FakeTensorRT:
    """One object of every class; ``module`` is what ``import tensorrt`` gives."""

    def __init__(self, version: str, names: Names) -> None:
        self.module = ModuleType("tensorrt")
        self.module.__version__ = version
        for name in _ENUMS:
            members = [m for m in names[name] if m.isupper()]
            setattr(self.module, name, enum.IntEnum(name, members, start=0))
        severities = {m: m for m in names["ILogger"] if m.isupper()}
        self.module.ILogger = type("ILogger", (), severities)
        self.builder = _spec("Builder", names)
        self.network = _spec("INetworkDefinition", names)
        self.parser = _spec("OnnxParser", names)
        self.settings = _spec("IBuilderConfig", names)
        self.profile = _spec("IOptimizationProfile", names)
        self.timings = _spec("ITimingCache", names)
        self.runtime = _spec("Runtime", names)
        self.engine = _spec("ICudaEngine", names)
        self.context = _spec("IExecutionContext", names)
        self.inspector = _spec("EngineInspector", names)
        self._names = names
        self.loggers: list[Any] = []
        self._connect()

    def _connect(self) -> None:
        """Let every object come from where TensorRT's comes from, and everything succeed."""
        self.module.Builder = self._made(self.builder)
        self.module.Runtime = self._made(self.runtime)
        self.module.OnnxParser = lambda network, logger: self.parser
        _returns(self.parser, "parse_from_file", True)
        for name, made in (
            ("create_network", self.network),
            ("create_builder_config", self.settings),
            ("create_optimization_profile", self.profile),
            ("build_serialized_network", b"plan"),
        ):
            _returns(self.builder, name, made)
        _returns(self.settings, "add_optimization_profile", 0)
        _returns(self.settings, "create_timing_cache", self.timings)
        _returns(self.settings, "get_timing_cache", self.timings)
        _returns(self.settings, "set_timing_cache", True)
        _returns(self.timings, "serialize", b"timings")
        _returns(self.runtime, "deserialize_cuda_engine", self.engine)
        _returns(self.engine, "create_engine_inspector", self.inspector)
        _returns(self.engine, "create_execution_context", self.context)

    def _made(self, what: Any) -> Any:
        def make(logger: Any) -> Any:
            self.loggers.append(logger)
            return what

        return make

    def parser_error(self, **values: Any) -> Any:
        """Return a parser's error whose methods give ``values``."""
        error = _spec("ParserError", self._names)
        for name, value in values.items():
            _returns(error, name, value)
        return error


class RunningTensorRT(FakeTensorRT):
    """A TensorRT whose plans answer: ONNX Runtime computes what their typed graphs say.

    A plan holds the path of its graph, which is read when the plan is built or first loaded.
    """

    def __init__(self, version: str) -> None:
        super().__init__(version, names_of(version))
        self._graphs: dict[bytes, Any] = {}
        _calls(self.parser, "parse_from_file", self._parse)
        _calls(self.builder, "build_serialized_network", self._build)
        _calls(self.runtime, "deserialize_cuda_engine", self._load)
        layer = {"LayerType": "gemm", "Inputs": [], "Outputs": []}
        layer["Inputs"] = [{"Datatype": kind} for kind in ("Float", "Half", "BFloat16", "Int8")]
        _returns(self.inspector, "get_engine_information", json.dumps({"Layers": [layer]}))

    def _parse(self, path: str) -> bool:
        self._parsed = path.encode()
        return True

    def _build(self, network: object, settings: object) -> bytes:
        self._load(self._parsed)
        return self._parsed

    def _load(self, plan: bytes) -> Any:
        import onnxruntime

        plan = plan.strip()
        if plan not in self._graphs:
            self._graphs[plan] = onnxruntime.InferenceSession(plan.decode())
        engine = _spec("ICudaEngine", self._names)
        _returns(engine, "create_engine_inspector", self.inspector)
        _RunningPlan(self._graphs[plan], engine, _spec("IExecutionContext", self._names), self)
        return engine


class _RunningPlan:
    """One loaded plan: reads inputs and writes outputs where they are in memory."""

    def __init__(self, graph: Any, engine: Any, context: Any, api: FakeTensorRT) -> None:
        self._graph = graph
        self._inputs = {port.name: port for port in graph.get_inputs()}
        self._outputs = {port.name: port for port in graph.get_outputs()}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        names = [*self._inputs, *self._outputs]
        engine.num_io_tensors = len(names)
        modes, types = api.module.TensorIOMode, api.module.DataType
        kinds = {"float": types.FLOAT, "int64": types.INT64, "bool": types.BOOL}
        ports = self._inputs | self._outputs
        _returns(engine, "create_execution_context", context)
        _calls(engine, "get_tensor_name", names.__getitem__)
        _calls(
            engine, "get_tensor_mode", lambda n: modes.INPUT if n in self._inputs else modes.OUTPUT
        )
        _calls(engine, "get_tensor_dtype", lambda n: kinds[ports[n].type[len("tensor(") : -1]])
        _calls(context, "set_input_shape", self._set_shape)
        _calls(context, "get_tensor_shape", self._shape)
        _calls(context, "set_tensor_address", self._addresses.__setitem__)
        _calls(context, "execute_async_v3", self._execute)

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = shape
        return True

    def _shape(self, name: str) -> tuple[int, ...]:
        axes = {
            axis: size
            for given, shape in self._shapes.items()
            for axis, size in zip(self._inputs[given].shape, shape, strict=True)
        }
        return tuple(axes.get(axis, axis) for axis in self._outputs[name].shape)

    def _execute(self, stream: int) -> bool:
        feeds = {n: self._memory(n, p, self._shapes[n]) for n, p in self._inputs.items()}
        found = self._graph.run(list(self._outputs), feeds)
        for (name, port), value in zip(self._outputs.items(), found, strict=True):
            self._memory(name, port, self._shape(name))[:] = value
        return True

    def _memory(self, name: str, port: Any, shape: tuple[int, ...]) -> Any:
        kind = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(bool)": "?"}[port.type]
        count = int(np.prod(shape)) * np.dtype(kind).itemsize
        held = (ctypes.c_char * count).from_address(self._addresses[name])
        return np.frombuffer(held, kind).reshape(shape)


class HostCuda(ModuleType):
    """The CUDA runtime functions that are used, on host memory; ``freed`` tells what was freed."""

    def __init__(self, gpu: str = "NVIDIA H200", capability: tuple[int, int] = (9, 0)) -> None:
        super().__init__("cuda.bindings.runtime")
        self.cudaError_t = enum.IntEnum("cudaError_t", {"cudaSuccess": 0, "cudaErrorNoDevice": 100})
        self.cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        self.devices = 1
        self.memory: dict[int, Any] = {}
        self._gpu, self._capability = gpu, capability

    def cudaGetDeviceCount(self) -> tuple[Any, int]:
        ok = self.cudaError_t.cudaSuccess if self.devices else self.cudaError_t.cudaErrorNoDevice
        return ok, self.devices

    def cudaSetDevice(self, index: int) -> tuple[Any]:
        return (self.cudaError_t.cudaSuccess,)

    def cudaGetDeviceProperties(self, index: int) -> tuple[Any, Any]:
        major, minor = self._capability
        found = SimpleNamespace(name=self._gpu.encode(), major=major, minor=minor)
        return self.cudaError_t.cudaSuccess, found

    def cudaStreamCreate(self) -> tuple[Any, int]:
        return self.cudaError_t.cudaSuccess, 7

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any]:
        return (self.cudaError_t.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[Any, int]:
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return self.cudaError_t.cudaSuccess, ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> tuple[Any]:
        del self.memory[address]
        return (self.cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> Any:
        ctypes.memmove(to, source, size)
        return (self.cudaError_t.cudaSuccess,)


def _spec(name: str, names: Names) -> Any:
    # spec_set: what is not in the list can be neither read nor set.
    return NonCallableMagicMock(spec_set=[m for m in names[name] if not m.startswith("__")])


def _calls(mock: Any, name: str, action: Any) -> None:
    getattr(mock, name).side_effect = action


def _returns(mock: Any, name: str, value: Any) -> None:
    if hasattr(mock, name):  # else the code that needs it shall find that it is not there
        getattr(mock, name).return_value = value
