from __future__ import annotations

import importlib
import sys

import pytest

from hemogat.cli.extras import needs
from hemogat.errors import IncompleteError


def test_names_the_package_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with (
        pytest.raises(IncompleteError, match=r"needs transformers.*\[train\]'"),
        needs("train"),
    ):
        importlib.import_module("transformers")


def test_a_missing_module_of_our_own_is_a_bug() -> None:
    with pytest.raises(ModuleNotFoundError), needs("train"):
        importlib.import_module("hemogat.no_such_module")
