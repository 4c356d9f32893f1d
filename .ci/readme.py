"README.md from nbs/index.ipynb: prints it, or writes it with --write."

import argparse
import posixpath
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

directive = re.compile(r"^#\|\s*(.*)$", re.M)
link = re.compile(r"(\]\()([^)#\s][^)\s]*)")


def marks(cell):
    "The words of nbdev's directives in a cell."
    return {word.rstrip(":") for line in directive.findall(cell.source) for word in line.split()}


def hidden(cell):
    "Whether the cell is bookkeeping that a reader of the README has no use for."
    return bool(marks(cell) & {"hide", "default_exp", "export"})


def from_root(match):
    "A link relative to nbs/ rewritten as one relative to the root, where README.md lies."
    head, target = match.groups()
    outside = re.match(r"[a-z]+:", target) or target.startswith("/")
    return head + (target if outside else posixpath.normpath(posixpath.join("nbs", target)))


def plain(output):
    "The output in one form that Markdown can show, or None for pictures and progress bars."
    data = output.get("data", {})
    if output.get("name") == "stderr" or any(kind.startswith("image/") for kind in data):
        return None
    for kind in ("text/markdown", "text/plain"):
        if kind in data:
            output.data = {kind: data[kind]}
            break
    return output


def tidy(cell):
    "The cell without nbdev's directives, pictures and progress bars, its links made relative to the root."
    if cell.cell_type == "markdown":
        cell.source = link.sub(from_root, cell.source)
        return cell
    silent = "echo: false" in directive.findall(cell.source)  # the reader wants what it shows, not how
    cell.source = directive.sub("", cell.source).strip("\n")
    cell.outputs = [o for o in map(plain, cell.outputs) if o is not None]
    if silent:
        shown = "\n\n".join(o.data["text/markdown"] for o in cell.outputs)
        return nbformat.v4.new_markdown_cell(link.sub(from_root, shown))
    return cell


def readme(path):
    "The Markdown text of the notebook at `path`."
    book = nbformat.read(path, as_version=4)
    book.cells = [tidy(c) for c in book.cells if not hidden(c)]
    book.metadata["language_info"] = {
        "name": "python"
    }  # names the language of the code blocks; nbdev_clean drops it
    text, _ = MarkdownExporter().from_notebook_node(book)
    text = "\n".join(line.rstrip() for line in text.splitlines())
    note = "<!-- Made from nbs/index.ipynb by `make notebooks`: change the notebook, not this file. -->\n\n"
    return note + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write README.md instead of printing it")
    root = Path(__file__).resolve().parent.parent
    text = readme(root / "nbs" / "index.ipynb")
    if parser.parse_args().write:
        (root / "README.md").write_text(text, encoding="utf-8")
    else:
        print(text, end="")
