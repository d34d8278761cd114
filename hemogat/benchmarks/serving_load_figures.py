"""A load report's figures, and what it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, median

from hemogat.benchmarks.figures import Better, Figure
from hemogat.benchmarks.latency_report import Workload
from hemogat.benchmarks.serving_load_report import Comparison, LoadLevel, LoadSettings
from hemogat.benchmarks.statistics import LatencySummary, latency_figures

_SERVED, _IN_PROCESS = "Triton", "in process"


def load_figures(comparison: Comparison, levels: Sequence[LoadLevel]) -> tuple[Figure, ...]:
    """Return the figures of the comparison in turns, and of every load."""
    turns: dict[str, str | int] = {"load": "in turns"}
    single, batch = turns | {"concurrency": 1}, turns | {"concurrency": comparison.batch}
    found = latency_figures(_IN_PROCESS, comparison.in_process, single)
    found += latency_figures(_SERVED, comparison.served, single)
    found.append(_throughput(_IN_PROCESS, median(comparison.in_process_per_s), batch))
    found.append(_throughput(_SERVED, median(comparison.served_per_s), batch))
    for level in levels:
        found += _level_figures(level)
    return tuple(found)


def _level_figures(level: LoadLevel) -> list[Figure]:
    axes = _axes(level)
    found = [_throughput(_SERVED, level.answered_per_s, axes)]
    answered, failed = 0, sum(level.errors.values())
    if level.latency is not None:
        answered = level.latency.n
        found += latency_figures(_SERVED, level.latency, axes)
    for name, summary in (
        ("send_lag", level.send_lag),
        ("from_sent", level.from_sent),
        ("refused", level.error_from_sent),
    ):
        if summary is not None:
            found += _summary_figures(name, summary, axes)
    if answered + failed:
        found.append(error_share(failed, answered + failed, axes))
    if level.memory is not None:
        peak = level.memory.peak_mib
        found.append(
            Figure(target=_SERVED, metric="peak_memory", unit="MiB", value=peak, axes=axes)
        )
    return found


def _summary_figures(
    name: str, summary: LatencySummary, axes: dict[str, str | int]
) -> list[Figure]:
    """Return a median with its interval, and the 95th percentile."""
    better: Better = "neither" if name == "send_lag" else "lower"  # the lag is the sender's
    median_of = Figure(
        target=_SERVED,
        metric=f"{name}_p50",
        unit="ms",
        value=summary.p50_ms,
        low=summary.p50_low_ms,
        high=summary.p50_high_ms,
        better=better,
        axes=axes,
    )
    tail = {"metric": f"{name}_p95", "value": summary.p95_ms, "low": None, "high": None}
    return [median_of, median_of.model_copy(update=tail)]


def _axes(level: LoadLevel) -> dict[str, str | int]:
    """Return what was offered; shares of the capacity as such, as that differs between runs."""
    if level.kind == "closed loop":
        return {"load": level.kind, "concurrency": round(level.offered)}
    if level.kind == "streams":
        return {"load": level.kind, "streams": round(level.offered)}
    if level.capacity_share is not None:
        return {"load": level.kind, "rate": f"{100 * level.capacity_share:g} % of capacity"}
    return {"load": level.kind, "rate": f"{level.offered:g}/s"}


def _throughput(target: str, per_s: float, axes: dict[str, str | int]) -> Figure:
    return Figure(
        target=target, metric="throughput", unit="1/s", value=per_s, better="higher", axes=axes
    )


def error_share(failed: int, requests: int, axes: dict[str, str | int]) -> Figure:
    """Return the share of requests that failed, with its 95 % interval (Wilson's).

    It is one of shares, unlike the bootstrap's also where none failed.
    """
    z = NormalDist().inv_cdf(0.975)
    share, spread = failed / requests, z**2 / requests
    middle = share + spread / 2
    half = (spread * share * (1 - share) + spread**2 / 4) ** 0.5
    low, high = ((middle + side * half) / (1 + spread) for side in (-1, 1))
    return Figure(
        target=_SERVED,
        metric="errors",
        unit="%",
        value=100 * share,
        low=100 * min(max(low, 0.0), share),
        high=100 * max(min(high, 1.0), share),
        axes=axes,
    )


def load_notes(
    settings: LoadSettings,
    workload: Workload,
    server: str,
    comparison: Comparison,
    levels: Sequence[LoadLevel],
    *,
    ours: bool = True,
) -> tuple[str, ...]:
    """Return what was found and how it was measured, one line each.

    ``ours``: the server was started for the measurement, beside the sender.
    """
    where = (
        "server and sender on the same cores"
        if ours
        else "of a server that ran already, which counts as other work if it is on this machine"
    )
    threads = "as many threads as cores" if settings.threads is None else f"{settings.threads}"
    windows, tokens = workload.windows, workload.tokens
    return (
        *_findings(comparison, levels),
        f"Triton {server} over gRPC, without retries, {where}; threads per graph: {threads}",
        f"{settings.duration_s:g} s of each load{_longer(settings)} after {settings.warm_up_s:g} s "
        f"of the same as warm-up; latency from when a request was due; {settings.chunk_ms} ms "
        f"chunks of streams",
        f"{workload.clips} clips, windows and tokens at most {windows.largest if windows else 0} "
        f"and {tokens.largest if tokens else 0}; bank of {workload.bank_rows} utterances",
    )


def _findings(compared: Comparison, levels: Sequence[LoadLevel]) -> list[str]:
    """Return what the comparison and the loads beyond capacity say."""
    found = [
        f"one at a time: in process p50 {compared.in_process.p50_ms:.1f} ms, through Triton "
        f"{compared.served.p50_ms:.1f} ms: it adds {compared.added_p50_ms:.1f} ms",
        f"{compared.batch} at a time: in process {median(compared.in_process_per_s):.1f} "
        f"utterances/s, through Triton {median(compared.served_per_s):.1f}: "
        f"{100 * compared.throughput_share:.0f} % "
        f"(median of {len(compared.served_per_s)} turns)",
    ]
    for level in levels:
        if level.kind == "open loop" and (level.errors or (level.capacity_share or 0) > 1):
            found.append(_overload(level))
    found += [_late(level) for level in levels if level.sender_was_late]
    return found


def _longer(settings: LoadSettings) -> str:
    found = {"beyond capacity": settings.overload_s, "streams": settings.stream_s}
    told = [f"{seconds:g} s {what}" for what, seconds in found.items() if seconds is not None]
    return f" ({', '.join(told)})" if told else ""


def _overload(level: LoadLevel) -> str:
    """Say whether latency, refusals and memory were stable while too much was offered."""
    parts = [f"p50 by third of the run {_course(level.p50_by_third_ms)} ms"]
    if level.p95_by_third_ms:
        parts.append(f"p95 {_course(level.p95_by_third_ms)} ms")
    refused = level.error_from_sent or level.error_latency
    if refused is not None:
        parts.append(f"{sum(level.errors.values())} refused, p95 {refused.p95_ms:.0f} ms")
    if level.memory is not None and level.memory.course_mib:
        parts.append(f"memory by quarter {_course(level.memory.course_mib)} MiB")
    return f"{level.name} offered for {level.duration_s:.0f} s: {'; '.join(parts)}"


def _course(values: Sequence[float]) -> str:
    return " → ".join(f"{value:.0f}" for value in values)


def _late(level: LoadLevel) -> str:
    assert level.send_lag is not None
    assert level.from_sent is not None
    return (
        f"WARNING, the sender fell behind ({level.kind}, {level.name}): requests were sent "
        f"{level.send_lag.p50_ms:.0f} ms (p50) and {level.send_lag.p95_ms:.0f} ms (p95) late; from "
        f"then the server took {level.from_sent.p50_ms:.0f} and {level.from_sent.p95_ms:.0f} ms"
    )
