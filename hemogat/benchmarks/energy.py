"""Energy that the processor packages have used, where Linux lets this process read it."""

from __future__ import annotations

from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Reads the energy counters of all processor packages (RAPL).

    They count what everything on the machine uses, idling included.
    """

    def __init__(self, root: Path = _POWERCAP) -> None:
        # Zones within a package (cores, memory) and that of the whole platform ("psys") count the
        # same energy again.
        packages = [zone for zone in sorted(root.glob("*-rapl:*")) if _is_package(zone)]
        self._zones = [zone for zone in packages if _read_uj(zone / "energy_uj") is not None]
        self._ranges_uj = [_read_uj(zone / "max_energy_range_uj") or 0 for zone in self._zones]
        self._last_uj = self._read()

    @property
    def readable(self) -> bool:
        """Whether there is anything to read."""
        return bool(self._zones)

    def since_last_j(self) -> float | None:
        """Return the joules used since the last call, or since the start; None if unreadable."""
        if not self._zones:
            return None
        now_uj = self._read()
        used_uj = sum(
            now - last if now >= last else now - last + wraps_at
            for now, last, wraps_at in zip(now_uj, self._last_uj, self._ranges_uj, strict=True)
        )
        self._last_uj = now_uj
        return used_uj / 1e6

    def _read(self) -> list[int]:
        return [_read_uj(zone / "energy_uj") or 0 for zone in self._zones]


def _is_package(zone: Path) -> bool:
    try:
        return (zone / "name").read_text(encoding="ascii").startswith("package")
    except (OSError, ValueError):
        return False


def _read_uj(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # usually only root may read them
        return None
