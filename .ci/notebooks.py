"""Execute notebooks in place: all, or those given.

A study runs in a temporary folder, so that its smoke run leaves no report in the checkout.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from vdistill.pages import drop_stderr

ROOT = Path(__file__).resolve().parent.parent


def execute(book):
    "Run a notebook from top to bottom and keep its outputs; the file stays as it was if a cell fails."
    nb = nbformat.read(book, as_version=4)
    with tempfile.TemporaryDirectory() as temp:
        folder = temp if book.parent.name == "studies" else book.parent
        NotebookClient(
            nb, timeout=1200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    nbformat.write(nb, book)
    drop_stderr(book)


def main(books):
    "All library notebooks in reading order, then the studies, then the front door."
    nbs = ROOT / "nbs"
    books = books or [
        *sorted(nbs.glob("[0-9]*.ipynb")),
        *sorted((nbs / "studies").glob("*.ipynb")),
        nbs / "index.ipynb",
    ]
    # a temporary folder is in no project, so what is relative to the project is made absolute
    for name, usual in (("VDISTILL_CACHE", "data/cache"), ("VDISTILL_DATA", "data")):
        os.environ[name] = str(ROOT / os.environ.get(name, usual))
    for book in map(Path, books):
        started = time.time()
        execute(book.resolve())
        print(f"{book.name} {time.time() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
