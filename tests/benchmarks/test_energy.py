from __future__ import annotations

from pathlib import Path

from hemogat.benchmarks.energy import EnergyMeter


def zone(root: Path, name: str, energy_uj: int, range_uj: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir(exist_ok=True)
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder


def test_packages_add_up_and_their_parts_do_not_count_twice(tmp_path: Path) -> None:
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        zone(tmp_path, name, 100)
    meter = EnergyMeter(tmp_path)
    for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
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
