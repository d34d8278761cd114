"""The key of the APIs that clients of a prediction service have no use for."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from hemogat.errors import ServerError

KEY_FILE_VARIABLE = "HEMOGAT_ADMIN_KEY_FILE"
# Clients send it under these names: a header field over HTTP, metadata over gRPC.
KEY_NAME = "hemogat-admin"
GRPC_KEY_NAME = f"triton-grpc-protocol-{KEY_NAME}"

_KEY = re.compile(r"[\w-]{16,}", re.ASCII)


def admin_key() -> str:
    """Return the key in the file that the environment names, else a new one that nobody knows.

    Raises:
        ServerError: the file cannot be read or holds no key.
    """
    named = os.environ.get(KEY_FILE_VARIABLE)
    if not named:
        return secrets.token_hex(16)
    try:
        key = Path(named).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"{named}: the admin key cannot be read ({error})") from error
    if not _KEY.fullmatch(key):
        raise ServerError(
            f"{named}: expected an admin key of at least 16 letters, digits, _ and -, found "
            f"{len(key)} characters, or others among them"
        )
    return key
