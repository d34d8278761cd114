"""A load report's figures, and what it says in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist, median

from hemogat.benchmarks.figures import Figure
from hemogat.benchmarks.latency_report import Workload
from hemogat.benchmarks.serving_load_report import Comparison, LoadLevel, LoadSettings
from hemogat.benchmarks.statistics import latency_figures

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
    if answered + failed:
        found.append(error_share(failed, answered + failed, axes))
    if level.memory is not None:
        peak = level.memory.peak_mib
        found.append(
            Figure(target=_SERVED, metric="peak_memory", unit="MiB", value=peak, axes=axes)
        )
    return found


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
) -> tuple[str, ...]:
    """Return what was found and how it was measured, one line each."""
    threads = "as many threads as cores" if settings.threads is None else f"{settings.threads}"
    windows, tokens = workload.windows, workload.tokens
    return (
        *_findings(comparison, levels),
        f"Triton {server} over gRPC, without retries, server and sender on the same cores; "
        f"threads per graph: {threads}",
        f"{settings.duration_s:g} s of each load after {settings.warm_up_s:g} s of warm-up; "
        f"latency from when a request was due; {settings.chunk_ms} ms chunks of streams",
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
        if level.errors and level.kind == "open loop":
            thirds = " → ".join(f"{p50_ms:.0f}" for p50_ms in level.p50_by_third_ms)
            found.append(f"{level.name} offered: p50 by third of the run {thirds} ms")
    return found
