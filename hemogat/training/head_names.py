"""What a run's heads are called; apart from the run directory, whose module needs torch."""

FULL = "full"  # the head that is exported; the others are controls
