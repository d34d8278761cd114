"""Measurements: latency, environment, report."""
