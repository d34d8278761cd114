"""Triton's responses: answers, refusals and errors.

Like :mod:`hemogat.serving.triton_host`, imported only inside Triton's Python backend.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from hemogat.runtime.sessions import Arrays


def response_of(outputs: Arrays) -> Any:
    """Return an answer; outputs by name."""
    tensors = [pb_utils.Tensor(name, np.ascontiguousarray(a)) for name, a in outputs.items()]
    return pb_utils.InferenceResponse(tensors)


def invalid(message: str) -> Any:
    """Refuse what the client sent."""
    return error_response(message, pb_utils.TritonError.INVALID_ARG)


def unavailable(why: str) -> Any:
    """Refuse for now."""
    return error_response(f"{why}; try again later", pb_utils.TritonError.UNAVAILABLE)


def error_response(message: str, *code: Any) -> Any:
    """Return an error; without one of Triton's codes, it is the server's own fault."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, *code))


def status_of(response: Any) -> str:
    """Return what the metrics count a response as."""
    if not response.has_error():
        return "ok"
    codes = {
        pb_utils.TritonError.INVALID_ARG: "invalid",
        pb_utils.TritonError.UNAVAILABLE: "overloaded",
    }
    return codes.get(response.error().code(), "failed")
