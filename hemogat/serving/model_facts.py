"""What a client asks a server about its models: what they are, and what they have counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field, Json, ValidationError

from hemogat import contract
from hemogat.config import PositiveInt, Settings, first_problem
from hemogat.errors import ServerError

_AnswerT = TypeVar("_AnswerT")
Labels = Annotated[tuple[str, ...], Field(min_length=1)]


class _Told(Settings, extra="ignore"):
    """What is read of a model's configuration; servers of other versions tell more or less."""

    labels: Json[Labels]
    bundle_sums: str
    max_batch_size: PositiveInt
    max_audio_bytes: PositiveInt | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What a client must know of the entry model.

    ``bundle_sums`` stands for the bundle; ``max_audio_bytes``: of a file, None where the server
    does not tell.
    """

    labels: tuple[str, ...]
    max_batch_size: int
    bundle_sums: str
    max_audio_bytes: int | None = None

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any], address: str) -> ModelFacts:
        """Read what the server at ``address`` answers when asked for the model's configuration.

        Raises:
            ServerError: it is none of hemogat's, or of a version that this client does not know.
        """
        try:
            config = answer.get("config", answer)  # gRPC wraps it, HTTP does not
            told = {key: each["string_value"] for key, each in config["parameters"].items()}
            known = _Told.model_validate(told | {"max_batch_size": config["max_batch_size"]})
        except ValidationError as error:  # first: it is a ValueError too
            raise _unknown_model(address, first_problem(error)) from error
        except (AttributeError, KeyError, TypeError) as error:
            raise _unknown_model(address, f"{type(error).__name__}: {error}") from error
        return cls(known.labels, known.max_batch_size, known.bundle_sums, known.max_audio_bytes)


class FactsKeeper:
    """What both clients keep of the model, until an answer shows that another bundle serves."""

    _facts: ModelFacts | None = None

    def _read(
        self, read: Callable[[Any, Sequence[str]], _AnswerT], answer: Any, labels: Sequence[str]
    ) -> _AnswerT:
        try:
            return read(answer, labels)
        except ServerError:  # what is known of the bundle before is of no use
            self._facts = None
            raise


def _unknown_model(address: str, reason: str) -> ServerError:
    return ServerError(
        f"Triton server at {address}: its model {contract.ENTRY_MODEL} is no hemogat model of a "
        f"version that this client knows ({reason}); check the address, or update either side"
    )


@dataclass(frozen=True)
class ModelStatistics:
    """What the server has counted for one model since it started.

    Times are summed over the successful ``requests``: ``total_ms`` from arrival to answer, of it
    ``queue_ms`` waiting and ``compute_ms`` in the model. ``executions`` worked on ``rows``.
    """

    requests: int
    total_ms: float
    queue_ms: float
    compute_ms: float
    rows: int
    executions: int

    @classmethod
    def from_answer(cls, answer: Mapping[str, Any]) -> ModelStatistics:
        """Read one model's entry; gRPC leaves zeros out and writes numbers as strings."""

        def total_ms(*names: str) -> float:
            times = answer["inference_stats"]
            return sum(int(times.get(name, {}).get("ns", 0)) for name in names) / 1e6

        return cls(
            requests=int(answer["inference_stats"]["success"].get("count", 0)),
            total_ms=total_ms("success"),
            queue_ms=total_ms("queue"),
            compute_ms=total_ms("compute_input", "compute_infer", "compute_output"),
            rows=int(answer.get("inference_count", 0)),
            executions=int(answer.get("execution_count", 0)),
        )
