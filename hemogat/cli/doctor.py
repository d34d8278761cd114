"""``hemogat doctor``: what is installed, what can run here, what would add the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hemogat.cli.output import JsonOption, print_facts, print_json, print_table, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hemogat.doctor import Diagnosis, Extra


def doctor(as_json: JsonOption = False) -> None:
    """Report the machine, the packages of every extra, the engines and the server.

    Missing parts are no failure: the report ends with the pip lines that add
    them.
    """
    from hemogat.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        print_json(diagnosis.model_dump(mode="json"))
        return
    print_facts(_facts(diagnosis))
    typer.echo()
    print_table(
        ("extra", "package", "version", "required"),
        (),
        (row for extra in diagnosis.extras for row in _extra_rows(extra)),
    )
    missing = [extra for extra in diagnosis.extras if not extra.complete]
    if missing:
        typer.echo("\nTo add what is missing:")
        print_facts({f"  {extra.name}": extra.add_with for extra in missing})
    for warning in diagnosis.warnings:
        typer.echo(f"warning: {warning}")


def _facts(diagnosis: Diagnosis) -> dict[str, str]:
    machine = diagnosis.machine
    gpus = [
        f"{g.name}, {g.memory_mib or '?'} MiB, compute capability {g.compute_capability}, "
        f"driver {g.driver}"
        for g in machine.gpus
    ]
    triton = diagnosis.tritonserver
    return {
        "hemogat": diagnosis.hemogat,
        "Python": f"{machine.python} ({diagnosis.executable})",
        "system": machine.platform,
        "CPU": f"{machine.cpu}, {machine.cores} cores\n{' '.join(machine.cpu_flags)}",
        "memory": "unknown" if machine.memory_bytes is None else size(machine.memory_bytes),
        "GPU": "\n".join(gpus) or "none found",
        **{
            engine.name: engine.detail if engine.can_run else f"no: {engine.detail}"
            for engine in diagnosis.engines
        },
        "tritonserver": f"{triton.detail}\n{triton.path}"
        if triton.path
        else f"no: {triton.detail}",
        "latest run": diagnosis.latest_run or "none",
        "latest bundle": diagnosis.latest_bundle or "none",
    }


def _extra_rows(extra: Extra) -> Iterator[tuple[str, ...]]:
    names = [extra.name] + [""] * len(extra.packages)
    for name, package in zip(names, extra.packages, strict=False):
        yield name, package.name, package.version or "missing", package.required
    if extra.includes:
        yield "", f"and {', '.join(extra.includes)}"
