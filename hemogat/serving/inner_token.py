"""How an engine model tells the requests of our own models from those of clients.

Triton lets whoever reaches its ports ask any model. The launcher gives all models of one server a
number that nobody else knows; it travels as the correlation id, which costs nothing and is in no
error message.
"""

from __future__ import annotations

import os
import secrets

TOKEN_VARIABLE = "HEMOGAT_INNER_TOKEN"


def new_token() -> str:
    """Return a number for one start of a server, for the environment of its models."""
    return str(secrets.randbits(63) | 1)  # 0 is no correlation id


def inner_token() -> int:
    """Return the number that this process was given; 0: no launcher gave any."""
    return int(os.environ.get(TOKEN_VARIABLE, "0"))
