"""``python -m hemogat``: the command line, for launchers such as ``accelerate launch -m``."""

from hemogat.cli.main import run

run()
