"""Triton: model repository, server launcher and client, without torch."""
