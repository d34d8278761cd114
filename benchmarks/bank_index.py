"""What loading a large bank for the search ``ivf`` takes, with its index stored and without.

    python benchmarks/bank_index.py --rows 200000

Base sizes (768 + 768), clustered embeddings, the bank in a file that is in the page cache. Every
load is a process of its own; figures are processor seconds of all its threads, which other work on
the machine moves less than time that passes. Prints a table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from hemogat.config import GraphConfig
from hemogat.export.bank_index import INDEX_FILE, write_index
from hemogat.runtime.bank_search import BankSearch
from hemogat.runtime.bank_tensors import map_tensors
from hemogat.runtime.ivf_facts import IvfFiles
from hemogat.runtime.stored_index import read_index

_BANK, _FACTS = "bank.safetensors", "facts.json"


def main() -> None:
    """Write a bank and its index, and load it both ways, in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--loads", type=int, default=2, help="of each kind")
    parser.add_argument("--load", nargs=2, metavar=("FOLDER", "KIND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        load(Path(arguments.load[0]), arguments.load[1])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bank(folder, arguments.rows)
        files = IvfFiles.model_validate_json((folder / _FACTS).read_bytes())
        for modality, facts in files.facts().items():
            print(f"{modality}: {facts.in_words()}")
        stored_mib = (folder / INDEX_FILE).stat().st_size / 2**20
        print(f"{arguments.rows} rows, index file {stored_mib:.1f} MiB")
        print("| index | processor s, each load | s that passed |\n| --- | --- | --- |")
        found: dict[str, list[list[str]]] = {"built": [], "stored": []}
        for _ in range(arguments.loads):
            for kind, times in found.items():
                command = [sys.executable, __file__, "--load", name, kind]
                times.append(subprocess.check_output(command, text=True).split())
        for kind, times in found.items():
            cells = (", ".join(column) for column in zip(*times, strict=True))
            print(f"| {kind} | {' | '.join(cells)} |")


def write_bank(folder: Path, rows: int) -> None:
    """Write what a search reads of a bank, and the index of it."""
    from hemogat.benchmarks.random_heads import clustered_embeddings

    drawn = clustered_embeddings(rows)
    every = np.arange(rows)
    tensors = {"audio": drawn.audio.numpy(), "text": drawn.text.numpy()}
    save_file({**tensors, "audio_rows": every, "text_rows": every.copy()}, folder / _BANK)
    index = write_index(map_tensors(folder / _BANK), GraphConfig(), folder)
    (folder / _FACTS).write_text(index.model_dump_json(), encoding="utf-8")


def load(folder: Path, kind: str) -> None:
    """Make a bank ready to be searched; print processor seconds and seconds."""
    import faiss  # noqa: F401  (importing it is part of neither)

    stored = None
    if kind == "stored":
        stored = IvfFiles.model_validate_json((folder / _FACTS).read_bytes())
    bank, graph = map_tensors(folder / _BANK), GraphConfig()
    used, started = time.process_time(), time.perf_counter()
    BankSearch(bank, graph, mode="ivf", index=read_index(folder, stored, graph, bank))
    print(f"{time.process_time() - used:.1f} {time.perf_counter() - started:.1f}")


if __name__ == "__main__":
    main()
