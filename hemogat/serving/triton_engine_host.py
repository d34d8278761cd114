"""The Triton model of one exported graph.

Like :mod:`hemogat.serving.triton_host`, imported only inside Triton's Python backend.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hemogat.runtime.bundle import Bundle
from hemogat.serving.settings import EngineParameters
from hemogat.serving.triton_engine import open_model, run_requests, threads_per_instance
from hemogat.serving.triton_requests import input_of
from hemogat.serving.triton_responses import error_response, response_of


class EngineHost:
    """A model that runs one exported graph on whole batches."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the graph's engine session."""
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
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response for each request."""
        feeds = [{name: input_of(request, name) for name in self._inputs} for request in requests]
        return [
            error_response(f"{type(result).__name__}: {result}")
            if isinstance(result, Exception)
            else response_of({name: result[name] for name in self._outputs})
            for result in run_requests(self._session, feeds)
        ]
