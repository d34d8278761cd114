"""What an installation resolves to, here: a package with its extras and all below, pinned.

python .ci/resolved.py 'hemogat[cpu,serve]'            requirements, for a bill of materials
python .ci/resolved.py 'hemogat[demo,dev]' --beside constraints.txt   what that does not pin
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_INSTALLER = "pip"  # what is there installs; it is no part of what is tested


def main() -> None:
    """Print one line for each package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirement", type=Requirement)
    parser.add_argument("--beside", type=Path, help="leave out what this file pins")
    arguments = parser.parse_args()
    found = resolved(arguments.requirement)
    if arguments.beside is None:
        print("\n".join(f"{name}=={version}" for name, version in sorted(found.items())))
        return
    tested = ".".join(platform.python_version_tuple()[:2])
    for name in sorted(found.keys() - pinned(arguments.beside)):
        print(f'{name}=={found[name]}; python_version == "{tested}"')


def resolved(requirement: Requirement) -> dict[str, str]:
    """Return the versions of all that the installed package and its extras need, by name."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [requirement]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *sorted(wanted.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                package = distribution(name)
            except PackageNotFoundError as error:
                raise SystemExit(f"{name}: is not installed; run make first") from error
            if name not in (canonicalize_name(requirement.name), _INSTALLER):
                found[name] = package.version.partition("+")[0]  # no build of a private index
            waiting += _needs(package.requires or [], extra)
    return found


def pinned(path: Path) -> set[str]:
    """Return the names that a file of constraints pins."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {
        canonicalize_name(Requirement(line).name)
        for line in lines
        if line and not line.startswith("#")
    }


def _needs(requires: list[str], extra: str) -> Iterator[Requirement]:
    for line in requires:
        requirement = Requirement(line)
        if requirement.marker is None:
            if not extra:
                yield requirement
        elif requirement.marker.evaluate({"extra": extra}):
            yield requirement


if __name__ == "__main__":
    main()
