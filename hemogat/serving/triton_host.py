"""The models that clients call: what touches ``triton_python_backend_utils``, with
``triton_engine_host``, ``triton_requests`` and ``triton_responses``.

That module exists only inside Triton's Python backend, so these are imported there alone, by the
files of ``triton_models``.
"""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import triton_python_backend_utils as pb_utils

from hemogat import contract
from hemogat.errors import InputError, UnavailableError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.sessions import Arrays
from hemogat.serving.admission import Admission
from hemogat.serving.deadlines import Deadlines
from hemogat.serving.draining import DrainWatch
from hemogat.serving.inner_models import InnerModels
from hemogat.serving.inner_token import inner_token
from hemogat.serving.lanes import Lanes
from hemogat.serving.model_configs import served_graph
from hemogat.serving.repository_checks import open_pinned
from hemogat.serving.settings import (
    EntryParameters,
    RequestParameters,
    StreamParameters,
)
from hemogat.serving.triton_engine import threads_per_instance
from hemogat.serving.triton_entry import Entry, Row
from hemogat.serving.triton_metrics import RequestMetrics
from hemogat.serving.triton_requests import begins_stream, chunk_of, rows_of, stream_id_of
from hemogat.serving.triton_responses import (
    error_response,
    invalid,
    response_of,
    status_of,
    unavailable,
)
from hemogat.serving.triton_stream import Chunk, Streams
from hemogat.serving.warm_up import warm_up_entry, warm_up_streams


class InnerModelError(Exception):
    """An engine model answered with an error; ``code`` is Triton's."""

    def __init__(self, model: str, error: Any) -> None:
        super().__init__(f"{model}: {error.message()}")
        self.code = error.code()


RequestT = TypeVar("RequestT")


@dataclass(frozen=True, eq=False)  # each is itself alone
class _Arrival(Generic[RequestT]):
    """A request that was let in, and where its answer goes."""

    request: RequestT
    sender: Any
    arrived_s: float = field(default_factory=time.monotonic)


class RequestHost(ABC, Generic[RequestT]):
    """A model that clients call: answers each request when it is ready, however long others take.

    ``execute`` only hands the work to a thread, which answers one request from its beginning to
    its end, waiting for the engine models in between, and sends the response by the request's
    response sender. So one process serves many requests, and a long clip holds up none of them.
    The queue is kept here too, with its limits.
    """

    parameters: type[RequestParameters]

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle, checking its files, and start the threads."""
        config = json.loads(args["model_config"])
        parameters = self.parameters.from_model_config(config)
        limits = (parameters.max_in_flight, parameters.max_waiting, parameters.max_wait_ms / 1000)
        self._admission = Admission(*limits)
        self._explains = isinstance(parameters, EntryParameters) and parameters.explain
        graphs = (served_graph(g, explain=self._explains) for g in contract.GRAPHS.values())
        self._outputs = {graph.name: [o.name for o in graph.outputs] for graph in graphs}
        self._token = inner_token()
        bundle = open_pinned(parameters.bundle, parameters.bundle_sums)
        models = InnerModels(
            bundle.manifest,
            self._infer,
            max_windows=parameters.max_windows,
            explain=self._explains,
        )
        self._working = ThreadPoolExecutor(parameters.max_in_flight, "request")
        self._beside = ThreadPoolExecutor(parameters.max_in_flight, "text")
        self._refusing = ThreadPoolExecutor(1, "refuse")
        # More would take the processor from the encoders, which others wait for.
        self._decoding = threading.BoundedSemaphore(threads_per_instance(1))
        self._open(bundle, models, parameters)
        new_family = partial(pb_utils.MetricFamily, kind=pb_utils.MetricFamily.COUNTER)
        self._metrics = RequestMetrics(config["name"], new_family)
        self._metrics.start()
        self._timeout_ms = parameters.timeout_ms
        self._deadlines = Deadlines(parameters.timeout_ms / 1000, self._give_up)
        self._deadlines.start()
        timeout_s, close = parameters.timeout_ms / 1000, self._admission.close
        self._draining = DrainWatch(config["name"], timeout_s, close, self._is_idle)
        self._draining.start()

    @abstractmethod
    def _open(self, bundle: Bundle, models: InnerModels, parameters: RequestParameters) -> None:
        """Get ready to answer."""

    @abstractmethod
    def _read(self, request: Any) -> RequestT:
        """Take what is needed out of Triton's request."""

    @abstractmethod
    def _answer_one(self, request: RequestT) -> Arrays:
        """Return the outputs by name."""

    def _begins(self, request: Any) -> bool:
        """Say whether a request belongs to nothing that was let in before."""
        return True

    def _is_idle(self) -> bool:
        """Say whether nothing that was let in is under way."""
        return self._admission.is_empty()

    def _refused(self, request: Any) -> None:
        """Take note that a request was not let in."""

    def _submit(self, arrival: _Arrival[RequestT]) -> None:
        """Have a thread answer, sooner or later."""
        self._working.submit(self._answer, arrival)

    def execute(self, requests: Sequence[Any]) -> None:
        """Start answering ``requests``, or refuse them before they are read."""
        for request in requests:
            sender = request.get_response_sender()
            if refusal := self._admission.enter(begins=self._begins(request)):
                self._refused(request)
                self._refusing.submit(self._finish, sender, unavailable(refusal), 0.0)
                continue
            try:
                arrival = _Arrival(self._read(request), sender)
            except InputError as error:
                self._admission.leave()
                self._refusing.submit(self._finish, sender, invalid(str(error)), 0.0)
            except BaseException:
                self._admission.leave()
                raise
            else:
                self._deadlines.add(arrival)
                self._submit(arrival)

    def finalize(self) -> None:
        """Stop the threads; Triton has waited for the requests in flight."""
        for threads in (self._working, self._beside, self._refusing):
            threads.shutdown()
        self._draining.stop()
        self._deadlines.stop()
        self._metrics.stop()

    def _answer(self, arrival: _Arrival[RequestT]) -> None:
        try:
            if arrival not in self._deadlines:  # given up while it waited
                return
            self._metrics.started(time.monotonic() - arrival.arrived_s)
            response = self._respond(arrival.request)
        finally:
            self._admission.leave()
        if self._deadlines.take(arrival):
            self._finish(arrival.sender, response, time.monotonic() - arrival.arrived_s)

    def _give_up(self, arrival: _Arrival[RequestT]) -> None:
        late = unavailable(
            f"overloaded: not answered within {self._timeout_ms} ms (timeout_ms of the "
            "repository's settings)"
        )
        self._finish(arrival.sender, late, time.monotonic() - arrival.arrived_s)

    def _finish(self, sender: Any, response: Any, duration_s: float) -> None:
        status = status_of(response)
        sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self._metrics.finished(status, duration_s)  # nobody waits for this

    def _respond(self, request: RequestT) -> Any:
        try:
            return response_of(self._answer_one(request))
        except InputError as error:
            return invalid(str(error))
        except UnavailableError as error:
            return unavailable(str(error))
        except InnerModelError as error:
            return error_response(str(error), error.code)
        except Exception as error:  # the boundary: a request is answered whatever happens
            return error_response(f"{type(error).__name__}: {error}")

    def _infer(self, graph: str, feeds: Arrays) -> Arrays:
        """Run ``graph`` on its Triton model; raises InnerModelError."""
        model = contract.triton_model_name(graph)
        request = pb_utils.InferenceRequest(
            model_name=model,
            correlation_id=self._token,
            requested_output_names=self._outputs[graph],
            inputs=[pb_utils.Tensor(name, array) for name, array in feeds.items()],
        )
        response = request.exec()
        if response.has_error():
            raise InnerModelError(model, response.error())
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


class EntryHost(RequestHost[Sequence[Row]]):
    """The model that takes whole utterances."""

    parameters = EntryParameters

    def _open(self, bundle: Bundle, models: InnerModels, parameters: RequestParameters) -> None:
        make = partial(Entry, bundle, beside=self._beside, decoding=self._decoding)
        warm_up_entry(bundle, make)
        self._entry = make(models)

    def _read(self, request: Any) -> Sequence[Row]:
        return rows_of(request)

    def _answer_one(self, request: Sequence[Row]) -> Arrays:
        return self._entry.answer(request)


class StreamHost(RequestHost[Chunk]):
    """The model that takes an utterance in pieces."""

    parameters = StreamParameters

    def _open(self, bundle: Bundle, models: InnerModels, parameters: RequestParameters) -> None:
        assert isinstance(parameters, StreamParameters)
        make = partial(
            Streams,
            bundle,
            decoding=self._decoding,
            idle_s=parameters.stream_idle_s,
            max_streams=parameters.max_streams,
        )
        warm_up_streams(bundle, make)
        self._streams = make(models)
        # A client may send chunks without waiting for answers, and Triton hands them on so.
        self._lanes = Lanes(self._working)

    def _read(self, request: Any) -> Chunk:
        return chunk_of(request)

    def _answer_one(self, request: Chunk) -> Arrays:
        return self._streams.answer(request)

    def _begins(self, request: Any) -> bool:
        return begins_stream(request)

    def _is_idle(self) -> bool:
        return super()._is_idle() and not self._streams.lively()

    def _refused(self, request: Any) -> None:
        with suppress(InputError):
            stream = stream_id_of(request)
            # Behind the chunks that are still to be taken in: without this one it is not whole.
            self._lanes.submit(stream, partial(self._streams.forget, stream))

    def _submit(self, arrival: _Arrival[Chunk]) -> None:
        self._lanes.submit(arrival.request.stream, partial(self._answer, arrival))

    def _give_up(self, arrival: _Arrival[Chunk]) -> None:
        self._streams.forget(arrival.request.stream)  # without this chunk it is not whole
        super()._give_up(arrival)
