"""Coverage-guided fuzzing of one parser, for as long as asked: ``make fuzz``.

    PYTHONPATH=benchmarks python -m reliability.fuzz manifest BUNDLE -max_total_time=60

needs atheris (``pip install atheris``). What follows the bundle is libFuzzer's. It stops at the
first finding, with the input in a file ``crash-...``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["hemogat"]):
    from reliability.parsers import parse, parsers


def main(name: str, bundle: Path, options: list[str]) -> None:
    """Fuzz the parser called ``name``; ``options``: libFuzzer's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as work:
        folder = Path(work)
        parser = parsers(folder, bundle)[name]
        (folder / "seeds").mkdir()
        for number, seed in enumerate(parser.seeds):
            (folder / "seeds" / str(number)).write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], str(folder / "seeds"), *options], lambda data: parse(parser, data)
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
