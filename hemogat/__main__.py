"""The ``hemogat`` command, also as ``python -m hemogat`` for launchers such as ``accelerate``."""

from __future__ import annotations

import sys

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def main() -> None:
    """Run the command line; also a Ctrl-C while its modules load ends in one line."""
    try:
        from hemogat.cli.main import run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
