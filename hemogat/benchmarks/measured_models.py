"""Which model a report's figures are of: names of targets tell engines, not sizes or weights."""

from __future__ import annotations

from hemogat.benchmarks.targets import HeadShape
from hemogat.config import Settings


class MeasuredModel(Settings):
    """What stands behind a target.

    ``name``: where it lies, without the way there. ``bundle_sha256``: of a bundle's
    ``SHA256SUMS``, None of anything else. ``shape``: the sizes of its head and bank, None where the
    target does not tell them, as a server.
    """

    target: str
    name: str
    bundle_sha256: str | None = None
    shape: HeadShape | None = None
