"""The index of a large bank, stored with it: made once, so that no load has to."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import save_file

from hemogat.config import GraphConfig
from hemogat.contract import MODALITIES
from hemogat.errors import BundleError, InputError
from hemogat.files import copy_file, folder_written_whole
from hemogat.model.writing import writing
from hemogat.optional import require
from hemogat.runtime.bank_clusters import sha256_of_rows
from hemogat.runtime.bank_codes import IVFScan
from hemogat.runtime.bank_search import APPROXIMATE_FROM_ROWS
from hemogat.runtime.bank_tensors import Tensors, map_tensors
from hemogat.runtime.bundle import MANIFEST_FILE, SUMS_FILE, Bundle, write_sums
from hemogat.runtime.gather_session import installed_searches
from hemogat.runtime.ivf_facts import IvfFiles
from hemogat.runtime.stored_index import index_tensors, read_index

INDEX_FILE = "bank/ivf.safetensors"


def write_index(bank: Tensors, graph: GraphConfig, folder: Path) -> IvfFiles:
    """Cluster a bank's rows and write the lists into a bundle's ``folder``; return what is known.

    Raises:
        IncompleteError: faiss is not installed.
    """
    scans = {
        modality: IVFScan(bank[modality], bank[f"{modality}_rows"])
        for modality, k in zip(MODALITIES, (graph.k_audio, graph.k_text), strict=True)
        if k
    }
    path = folder / INDEX_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with writing(path):
        save_file(index_tensors({name: scan.lists for name, scan in scans.items()}), path)
    facts = {modality: scan.facts for modality, scan in scans.items()}
    return IvfFiles(tensors=INDEX_FILE, audio=facts.get("audio"), text=facts.get("text"))


def write_wanted_index(
    bank: Path,
    graph: GraphConfig,
    folder: Path,
    *,
    wanted: bool | None,
    earlier: Bundle | None = None,
) -> IvfFiles | None:
    """Write the index where it is wanted, into ``folder``, for the file ``bank``.

    Without a wish, that of the bundle ``earlier`` stays if it is of this bank. Else there is one
    for a bank that ``auto`` searches by it, and where ``earlier`` has one; and then that there is
    no faiss does not keep an export back.

    Raises:
        InputError: it is asked for, and the model asks for no neighbours.
        IncompleteError: it is asked for, and faiss is not installed.
    """
    if wanted:
        check_neighbours(graph, bank)
    if not graph.slots:
        return None
    tensors = map_tensors(bank)
    if wanted is None:
        kept = None if earlier is None else _keep_index(earlier, tensors, graph, folder)
        if kept is not None:
            return kept
        had = earlier is not None and earlier.manifest.bank.ivf is not None
        large = len(tensors["present"]) >= APPROXIMATE_FROM_ROWS
        wanted = (large or had) and "ivf" in installed_searches()
    return write_index(tensors, graph, folder) if wanted else None


def check_neighbours(graph: GraphConfig, of: Path) -> None:
    """Refuse to index the bank of a model that reads no neighbours.

    Raises:
        InputError: it asks for none.
    """
    if not graph.slots:
        raise InputError(f"{of}: its model asks for no neighbours, so there is no search")


def _keep_index(
    earlier: Bundle, bank: Tensors, graph: GraphConfig, folder: Path
) -> IvfFiles | None:
    """Copy a bundle's index if it is of this bank, which needs no faiss; return what is known."""
    files = earlier.manifest.bank.ivf
    if files is None:
        return None
    try:
        index = read_index(earlier.path, files, graph, bank)
    except BundleError:
        return None
    for modality, stored in index.items():
        found = sha256_of_rows(bank[modality], bank[f"{modality}_rows"])
        if found != stored.facts.embeddings_sha256:
            return None
    copy_file(earlier.path / files.tensors, folder / INDEX_FILE)
    return files.model_copy(update={"tensors": INDEX_FILE})


def add_index(bundle: Bundle, out: Path) -> Bundle:
    """Write ``bundle`` with an index of its bank to ``out``, whole or not at all; return it.

    Raises:
        BundleError: its graph has the bank inside alone, so that nothing would read the index.
        InputError: ``out`` exists, or the model asks for no neighbours.
        IncompleteError: faiss is not installed.
    """
    require("faiss", extra="search")
    manifest = bundle.manifest
    if out.exists():
        raise InputError(f"{out}: exists already and would be overwritten; name another place")
    check_neighbours(manifest.graph, bundle.path)
    if manifest.bank.gather is None:
        raise BundleError(
            f"{bundle.path}: has no fusion_gather graph, without which no index is read; export "
            f"it with: hemogat export --gather"
        )
    with folder_written_whole(out) as folder:
        old = None if manifest.bank.ivf is None else manifest.bank.ivf.tensors
        for path in sorted(p for p in bundle.path.rglob("*") if p.is_file()):
            inside = path.relative_to(bundle.path)
            if inside.as_posix() not in (old, MANIFEST_FILE, SUMS_FILE):
                copy_file(path, folder / inside)
        index = write_index(map_tensors(folder / manifest.bank.tensors), manifest.graph, folder)
        files = manifest.bank.model_copy(update={"ivf": index})
        changed = manifest.model_copy(update={"bank": files})
        content = changed.model_dump_json(indent=1) + "\n"
        (folder / MANIFEST_FILE).write_text(content, encoding="utf-8")
        write_sums(folder)
    return Bundle(out, changed)
