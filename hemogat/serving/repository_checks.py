"""What must be true of a generated model repository before a server is started on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from hemogat import contract
from hemogat.errors import BundleError, IncompleteError
from hemogat.optional import require
from hemogat.runtime.bundle import SUMS_FILE, Bundle, sha256_of
from hemogat.runtime.bundle_sums import verify_files
from hemogat.serving.locate import TritonInstall, find_tritonserver
from hemogat.serving.repository import CONFIG_FILE

_AGAIN = "generate it again with: hemogat repository"


def check_repository(repository: Path) -> None:
    """Hash all that a server would load from a repository, and look for the backends it needs.

    Triton loads the models side by side, so none of them can vouch for what another one reads.

    Raises:
        BundleError: a file of the repository, or of the bundle that it refers to, is missing,
            altered or not listed; or it was generated from another bundle.
        IncompleteError: the tritonserver that is found here has not all of its backends.
    """
    for compiled in repository.glob("*/*/__pycache__"):  # Triton's stub leaves it; not ours to run
        shutil.rmtree(compiled, ignore_errors=True)
    verify_files(repository, again=_AGAIN)
    configs = [_read_config(path) for path in sorted(repository.glob(f"*/{CONFIG_FILE}"))]
    _check_backends(repository, {config.backend for config in configs}, find_tritonserver())
    told = next(c for c in configs if c.name == contract.ENTRY_MODEL).parameters
    bundle = Path(told["bundle"].string_value)
    if not bundle.is_dir():
        raise BundleError(
            f"{repository}: expects its bundle at {bundle}, where there is none; put it there, or "
            f"{_AGAIN} --bundle-path PATH"
        )
    open_pinned(bundle, told["bundle_sums"].string_value)


def open_pinned(path: Path, sums: str) -> Bundle:
    """Open the bundle at ``path``, checking its files, if it is the one that ``sums`` stands for.

    Raises:
        BundleError: it is another one, or none that can be used.
    """
    bundle = Bundle.open(path)
    if sha256_of(path / SUMS_FILE) != sums:
        raise BundleError(
            f"{path}: is another bundle than the one that this model repository was "
            "generated from; generate it again"
        )
    return bundle


def _check_backends(repository: Path, needed: set[str], install: TritonInstall) -> None:
    folders = install.python_backend.parent.iterdir()
    found = {folder.name for folder in folders if any(folder.glob("libtriton_*.so"))}
    if missing := sorted(needed - found):
        raise IncompleteError(
            f"{repository}: needs backend {', '.join(missing)}; this tritonserver "
            f"({install.executable}) has {', '.join(sorted(found))}; generate it again with "
            "--backend python, or serve it in the container, as its README.md says"
        )


def _read_config(path: Path) -> Any:
    text_format = require("google.protobuf.text_format", extra="serve")
    messages = require("tritonclient.grpc.model_config_pb2", extra="serve")
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), messages.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: is not a model's configuration ({error}); {_AGAIN}") from error
