"""Hostile requests, soaks and fuzzing of parsers: ``make soak``, ``make fuzz``, and their short
forms in ``tests/reliability``."""
