"""The Triton model of one exported graph.

Like :mod:`hemogat.serving.triton_host`, imported only inside Triton's Python backend.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hemogat.contract import ENTRY_MODEL, STREAM_MODEL
from hemogat.errors import InputError
from hemogat.logs import show_information
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.sessions import Arrays
from hemogat.serving.inner_token import inner_token
from hemogat.serving.settings import EngineParameters
from hemogat.serving.triton_engine import open_model, run_requests, threads_per_instance
from hemogat.serving.triton_requests import input_of, stream_id_of
from hemogat.serving.triton_responses import error_response, invalid, response_of

_NOT_FOR_CLIENTS = f"this model answers {ENTRY_MODEL} and {STREAM_MODEL} alone; ask one of them"


class EngineHost:
    """A model that runs one exported graph on whole batches."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph's engine session."""
        show_information()  # in the server's log
        config = json.loads(args["model_config"])
        parameters = EngineParameters.from_model_config(config)
        instances = sum(group["count"] for group in config["instance_group"])
        # `hemogat serve` has checked the files before it started the server.
        bundle = Bundle.open(parameters.bundle, verify=False)
        device = parameters.device
        if device == "cuda":
            device = f"cuda:{args['model_instance_device_id']}"
        self._session = open_model(
            bundle, parameters, parameters.threads or threads_per_instance(instances), device
        )
        self._token = inner_token()
        self._warm_ups = len(config.get("model_warmup", ()))
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response for each request."""
        ours = [request for request in requests if self._is_ours(request)]
        feeds = [{name: input_of(request, name) for name in self._inputs} for request in ours]
        results = iter(run_requests(self._session, feeds) if feeds else ())
        if len(ours) == len(requests):
            return [self._response(result) for result in results]
        return [
            self._response(next(results)) if request in ours else invalid(_NOT_FOR_CLIENTS)
            for request in requests
        ]

    def _is_ours(self, request: Any) -> bool:
        if not self._token:
            return True
        with suppress(InputError):  # an id that cannot be read is a client's
            if stream_id_of(request) == self._token:
                return True
        self._warm_ups -= 1  # Triton's come before it lets anybody ask
        return self._warm_ups >= 0

    def _response(self, result: Arrays | Exception) -> Any:
        if isinstance(result, Exception):
            return error_response(f"{type(result).__name__}: {result}")
        return response_of({name: result[name] for name in self._outputs})
