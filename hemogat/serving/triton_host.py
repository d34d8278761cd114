"""What touches ``triton_python_backend_utils``, with ``triton_responses``.

That module exists only inside Triton's Python backend, so these are imported there alone, by the
files of ``triton_models``.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from hemogat import contract
from hemogat.errors import BundleError, InputError
from hemogat.runtime.bundle import SUMS_FILE, Bundle, sha256_of
from hemogat.runtime.sessions import Arrays
from hemogat.serving.admission import Admission
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.model_configs import served_graph
from hemogat.serving.settings import (
    EngineParameters,
    EntryParameters,
    RequestParameters,
    StreamParameters,
)
from hemogat.serving.triton_engine import open_model, run_requests, threads_per_instance
from hemogat.serving.triton_entry import Entry, Row
from hemogat.serving.triton_metrics import RequestMetrics
from hemogat.serving.triton_responses import (
    error_response,
    invalid,
    overloaded,
    response_of,
    status_of,
)
from hemogat.serving.triton_stream import Chunk, StreamId, Streams

MAX_INNER_CALLS = 64  # of one entry process at a time; further ones wait their turn


class InnerModelError(Exception):
    """An engine model answered with an error; ``code`` is Triton's."""

    def __init__(self, model: str, error: Any) -> None:
        super().__init__(f"{model}: {error.message()}")
        self.code = error.code()


RequestT = TypeVar("RequestT")


class RequestHost(ABC, Generic[RequestT]):
    """A model that clients call: answers each request when it is ready, however long others take.

    ``execute`` only starts the work, on an event loop in another thread, and each response is
    sent by its request's response sender. So one process serves many requests, and a long clip
    holds up none of them. The queue is kept here too, with its limits.
    """

    parameters: type[RequestParameters]

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle, checking its files, and start the event loop."""
        config = json.loads(args["model_config"])
        parameters = self.parameters.from_model_config(config)
        self._timeout_ms = parameters.timeout_ms
        limits = (parameters.max_in_flight, parameters.max_waiting, parameters.max_wait_ms / 1000)
        self._admission = Admission(*limits)
        self._preparing = ThreadPoolExecutor(threads_per_instance(1), "prepare")
        # Triton's async_exec waits for an inner model in a thread of the loop's default executor.
        self._waiting = ThreadPoolExecutor(MAX_INNER_CALLS, "wait")
        self._explains = isinstance(parameters, EntryParameters) and parameters.explain
        graphs = (served_graph(g, explain=self._explains) for g in contract.GRAPHS.values())
        self._outputs = {graph.name: [o.name for o in graph.outputs] for graph in graphs}
        bundle = _open_pinned(parameters)
        models = InnerModels(
            bundle.manifest,
            self._infer,
            max_windows=parameters.max_windows,
            explain=self._explains,
        )
        self._open(bundle, models, parameters)
        new_family = partial(pb_utils.MetricFamily, kind=pb_utils.MetricFamily.COUNTER)
        self._metrics = RequestMetrics(config["name"], new_family)
        self._metrics.start()
        self._slots = asyncio.Semaphore(parameters.max_in_flight)
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(self._waiting)
        self._thread = threading.Thread(target=self._loop.run_forever, name="requests")
        self._thread.start()

    @abstractmethod
    def _open(self, bundle: Bundle, models: InnerModels, parameters: RequestParameters) -> None:
        """Get ready to answer."""

    @abstractmethod
    def _read(self, request: Any) -> RequestT:
        """Take what is needed out of Triton's request."""

    @abstractmethod
    async def _answer_one(self, request: RequestT) -> Arrays:
        """Return the outputs by name."""

    def execute(self, requests: Sequence[Any]) -> None:
        """Start answering ``requests``, or refuse them before they are read."""
        for request in requests:
            sender = request.get_response_sender()
            if refusal := self._admission.enter():
                self._loop.call_soon_threadsafe(self._finish, sender, overloaded(refusal), 0.0)
                continue
            try:
                answer = self._answer(self._read(request), sender)
            except InputError as error:
                self._admission.leave()
                self._loop.call_soon_threadsafe(self._finish, sender, invalid(str(error)), 0.0)
            except BaseException:
                self._admission.leave()
                raise
            else:
                asyncio.run_coroutine_threadsafe(answer, self._loop)

    def finalize(self) -> None:
        """Stop the threads; Triton has waited for the requests in flight."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._metrics.stop()
        self._preparing.shutdown()
        self._waiting.shutdown()

    async def _answer(self, request: RequestT, sender: Any) -> None:
        began_s = time.monotonic()
        try:
            response = await self._respond(request)
        finally:
            self._admission.leave()
        self._finish(sender, response, time.monotonic() - began_s)

    def _finish(self, sender: Any, response: Any, duration_s: float) -> None:
        self._metrics.finished(status_of(response), duration_s)
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    async def _respond(self, request: RequestT) -> Any:
        try:
            return response_of(await asyncio.wait_for(self._work(request), self._timeout_ms / 1000))
        except asyncio.TimeoutError:
            return overloaded(f"not answered within {self._timeout_ms} ms")
        except InputError as error:
            return invalid(str(error))
        except InnerModelError as error:
            return error_response(str(error), error.code)
        except Exception as error:  # the boundary: a request is answered whatever happens
            return error_response(f"{type(error).__name__}: {error}")

    async def _work(self, request: RequestT) -> Arrays:
        began_s = time.monotonic()
        async with self._slots:
            self._metrics.started(time.monotonic() - began_s)
            return await self._answer_one(request)

    async def _infer(self, graph: str, feeds: Arrays) -> Arrays:
        """Run ``graph`` on its Triton model; raises InnerModelError."""
        model = contract.triton_model_name(graph)
        request = pb_utils.InferenceRequest(
            model_name=model,
            requested_output_names=self._outputs[graph],
            inputs=[pb_utils.Tensor(name, array) for name, array in feeds.items()],
        )
        response = await request.async_exec()
        if response.has_error():
            raise InnerModelError(model, response.error())
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


class EntryHost(RequestHost[Sequence[Row]]):
    """The model that takes whole utterances."""

    parameters = EntryParameters

    def _open(self, bundle: Bundle, models: InnerModels, parameters: RequestParameters) -> None:
        self._entry = Entry(bundle, models, self._preparing)

    def _read(self, request: Any) -> Sequence[Row]:
        return _rows(request)

    async def _answer_one(self, request: Sequence[Row]) -> Arrays:
        return await self._entry.answer(request)


class StreamHost(RequestHost[Chunk]):
    """The model that takes an utterance in pieces."""

    parameters = StreamParameters

    def _open(self, bundle: Bundle, models: InnerModels, parameters: RequestParameters) -> None:
        assert isinstance(parameters, StreamParameters)
        idle_s = parameters.stream_idle_s
        self._streams = Streams(bundle, models, self._preparing, idle_s=idle_s)

    def _read(self, request: Any) -> Chunk:
        return _chunk(request)

    async def _answer_one(self, request: Chunk) -> Arrays:
        return await self._streams.answer(request)


class EngineHost:
    """A model that runs one exported graph on whole batches."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph's engine session."""
        config = json.loads(args["model_config"])
        parameters = EngineParameters.from_model_config(config)
        instances = sum(group["count"] for group in config["instance_group"])
        # The entry model checks the files.
        bundle = Bundle.open(parameters.bundle, verify=False)
        device = parameters.device
        if device == "cuda":
            device = f"cuda:{args['model_instance_device_id']}"
        self._session = open_model(
            bundle, parameters, parameters.threads or threads_per_instance(instances), device
        )
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response for each request."""
        feeds = [{name: _input(request, name) for name in self._inputs} for request in requests]
        return [
            error_response(f"{type(result).__name__}: {result}")
            if isinstance(result, Exception)
            else response_of({name: result[name] for name in self._outputs})
            for result in run_requests(self._session, feeds)
        ]


def _open_pinned(parameters: RequestParameters) -> Bundle:
    bundle = Bundle.open(parameters.bundle)
    if sha256_of(bundle.path / SUMS_FILE) != parameters.bundle_sums:
        raise BundleError(
            f"{bundle.path}: is another bundle than the one that this model repository was "
            "generated from; generate it again"
        )
    return bundle


def _rows(request: Any) -> list[Row]:
    columns = []
    for spec in (contract.AUDIO_INPUT, contract.TEXT_INPUT):
        tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
        columns.append(None if tensor is None else tensor.as_numpy().reshape(-1).tolist())
    count = max((len(column) for column in columns if column is not None), default=1)
    audio, text = (column if column is not None else [None] * count for column in columns)
    return list(zip(audio, text, strict=True))


def _chunk(request: Any) -> Chunk:
    flags = request.flags()
    rate = pb_utils.get_input_tensor_by_name(request, contract.RATE_INPUT.name)
    text = pb_utils.get_input_tensor_by_name(request, contract.TEXT_INPUT.name)
    samples = pb_utils.get_input_tensor_by_name(request, contract.SAMPLES_INPUT.name)
    if samples is None:  # Triton counts the inputs; with an optional one, the number fits
        raise InputError(f"stream: {contract.SAMPLES_INPUT.name} is missing; send samples")
    return Chunk(
        _stream_id(request),
        start=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
        end=bool(flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
        samples=samples.as_numpy().reshape(-1),
        rate_hz=None if rate is None else int(rate.as_numpy().item()),
        text=None if text is None else text.as_numpy().item(),
    )


def _stream_id(request: Any) -> StreamId:
    try:
        stream: StreamId = request.correlation_id()
    except UnicodeDecodeError as error:  # over HTTP, Triton lets any bytes through
        raise InputError(f"stream: its sequence id is not valid UTF-8 ({error})") from error
    return stream


def _input(request: Any, name: str) -> NDArray[Any]:
    array: NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array
