from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.benchmarks.environment import Environment, describe_environment
from hemogat.benchmarks.file_names import of_other_machines, report_path


def machine(*flags: str, cpu: str = "AMD EPYC") -> Environment:
    changed = {"cpu": cpu, "cpu_flags": flags, "cores": 2}
    return describe_environment().model_copy(update=changed)


@pytest.mark.parametrize(
    ("flags", "name", "words"),
    [
        ((), "amd-epyc-2c", "AMD EPYC"),
        (("avx2", "hypervisor"), "amd-epyc-avx2-2c", "AMD EPYC with AVX2"),
        (
            ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16"),
            "amd-epyc-avx512-bf16-2c",
            "AMD EPYC with AVX-512, VNNI and bf16",
        ),
        (("avx2", "avx_vnni"), "amd-epyc-avx-vnni-2c", "AMD EPYC with AVX2 and VNNI"),
        (("asimd", "i8mm", "bf16"), "amd-epyc-i8mm-2c", "AMD EPYC with NEON and i8mm"),
    ],
)
def test_the_name_tells_the_widest_vectors(
    flags: tuple[str, ...], name: str, words: str, tmp_path: Path
) -> None:
    assert report_path(tmp_path, machine(*flags), "gnn", "a base").stem == f"gnn-a-base-{name}"
    assert machine(*flags).cpu_in_words == words


def test_the_same_of_other_machines_is_found(tmp_path: Path) -> None:
    new = machine("avx2", "avx512f")
    path = report_path(tmp_path, new, "linking", "10")

    def write(name: str, environment: Environment | None) -> Path:
        inside = "{}" if environment is None else environment.model_dump_json()
        file = tmp_path / name
        file.write_text(inside if environment is None else f'{{"environment": {inside}}}')
        return file

    write(path.name, new)
    old = write("linking-10-amd-epyc-2c.json", machine("avx2"))
    other = write("linking-10-intel-2c.json", machine(cpu="Intel"))
    write("linking-10-nodes-amd-epyc-2c.json", machine("avx2"))
    write("linking-100-amd-epyc-2c.json", machine("avx2"))
    write("linking-10-else.json", None)
    assert of_other_machines(path, new) == [old, other]
