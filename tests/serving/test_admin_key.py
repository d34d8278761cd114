from __future__ import annotations

from pathlib import Path

import pytest

from hemogat.errors import ServerError
from hemogat.serving.admin_key import KEY_FILE_VARIABLE, admin_key


def test_it_is_new_each_time_unless_a_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_FILE_VARIABLE, raising=False)
    assert len({admin_key(), admin_key()}) == 2


def test_a_file_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "admin-key"
    file.write_text("0123456789abcdef-XYZ\n")
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(file))
    assert admin_key() == "0123456789abcdef-XYZ"


@pytest.mark.parametrize("content", ["", "short", "0123456789 abcdef", "0123456789,abcdef=1"])
def test_what_is_no_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    file = tmp_path / "admin-key"
    file.write_text(content)
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(file))
    with pytest.raises(ServerError, match="expected an admin key"):
        admin_key()
    file.unlink()
    with pytest.raises(ServerError, match="cannot be read"):
        admin_key()
