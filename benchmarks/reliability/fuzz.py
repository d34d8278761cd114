"""Coverage-guided fuzzing of parsers, one after the other: ``make fuzz``.

    PYTHONPATH=benchmarks python -m reliability.fuzz audio,manifest BUNDLE -max_total_time=60

What follows the bundle is libFuzzer's. It ends at the first finding, with an exit code other than 0
and the input in a file ``crash-...``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

from reliability.parser import Parser, parse


def fuzz(parser: Parser, folder: Path, options: Sequence[str]) -> None:
    """Fuzz one parser; the process ends with it.

    Args:
        parser: what it owes: :mod:`reliability.parser`.
        folder: an empty one for its seeds, to which libFuzzer adds inputs that reach further.
        options: libFuzzer's.
    """
    for number, seed in enumerate(parser.seeds):
        (folder / str(number)).write_bytes(seed)
    atheris.Setup([sys.argv[0], str(folder), *options], lambda data: parse(parser, data))
    atheris.Fuzz()


def main(names: Sequence[str], bundle: Path, options: Sequence[str]) -> None:
    """Fuzz the parsers of these names, each in a process of its own."""
    with atheris.instrument_imports(include=["hemogat"]):
        from reliability.parsers import parsers
    for name in names:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
            parser = parsers(Path(work), bundle)[name]
            seeds = Path(work) / "seeds"
            seeds.mkdir()
            print(f"parser: {name}", file=sys.stderr, flush=True)
            child = os.fork()  # not multiprocessing: libFuzzer keeps a finding as the process exits
            if not child:
                fuzz(parser, seeds, options)
            _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"{name}: a finding (exit code {os.waitstatus_to_exitcode(status)})")


if __name__ == "__main__":
    main(sys.argv[1].split(","), Path(sys.argv[2]), sys.argv[3:])
