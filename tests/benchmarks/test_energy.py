from __future__ import annotations

from pathlib import Path

from hemogat.benchmarks.energy import EnergyMeter

KINDS = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1"}
KINDS |= {"intel-rapl:2": "psys", "intel-rapl:0:0": "core"}


def zone(root: Path, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "name").write_text(f"{KINDS[name]}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder


def test_packages_add_up_and_neither_parts_nor_the_whole_count_twice(tmp_path: Path) -> None:
    for name in KINDS:
        zone(tmp_path, name, 100)
    meter = EnergyMeter(tmp_path)
    for name in KINDS:
        zone(tmp_path, name, 500_100)
    assert meter.since_last_j() == 1.0
    assert meter.since_last_j() == 0.0


def test_a_counter_that_starts_again_is_followed(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 900_000)
    meter = EnergyMeter(tmp_path)
    zone(tmp_path, "intel-rapl:0", 100_000)
    assert meter.since_last_j() == 0.2


def test_where_nothing_can_be_read_there_is_no_energy(tmp_path: Path) -> None:
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter(tmp_path).since_last_j() is None
