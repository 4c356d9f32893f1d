"""The documentation as plain pages: notebooks as chapters with a reference from docments, and the reports.

Quarto, by which nbdev makes its pages, is not on a package index; nbconvert is. Nothing is executed. Where a
link leads nowhere, a line says so and the exit status is 1.
"""

import argparse
import dataclasses
import html
import importlib
import inspect
import posixpath
import re
import shutil
import sys
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat
from fastcore.docments import docments
from nbconvert import HTMLExporter
from readme import directive, marks

from vdistill.page_style import page
from vdistill.pages import only_to_read, study_intro
from vdistill.texts import escape_html

ROOT = Path(__file__).resolve().parent.parent
PARTS = {  # the first chapter of a part → what the part is called
    "index": "Start",
    "01_clips": "Clips, data sets, networks",
    "07_memory": "Memories and their judge",
    "11_matching": "Objectives",
    "16_distillation": "Distilling and comparing",
    "21_results": "Results, figures, pages",
    "26_scores": "Studies and their numbers",
    "30_your_method": "Your own methods, the command",
    "86_lazily": "Videos, caches, files",
    "studies/dynamic_finetuning": "The studies, as they are run",
}
PLAIN = {f"exclude_{what}": True for what in ("input_prompt", "output_prompt", "anchor_links")}
ABSENT = (inspect.Parameter.empty, dataclasses.MISSING)
LINK = re.compile(r'(<\w[^<>]*\s(?:href|src)=")([^"]*)(?=")')  # in a text of a page there is no <


def chapters():
    "The notebooks in their order of reading, by their paths in nbs/ without ending."
    nbs = ROOT / "nbs"
    books = [nbs / "index.ipynb", *sorted(nbs.glob("[0-9]*.ipynb")), *sorted(nbs.glob("studies/*.ipynb"))]
    return {book.relative_to(nbs).with_suffix("").as_posix(): nbformat.read(book, 4) for book in books}


def told(book, exporter):
    "A notebook as HTML, without bookkeeping and nbdev's directives."
    kept = [cell for cell in book.cells if not marks(cell) & {"hide", "default_exp"}]
    for cell in kept:
        if cell.cell_type == "code":
            silent = "echo: false" in directive.findall(cell.source)
            cell.source = "" if silent else directive.sub("", cell.source).strip("\n")
    shown = nbformat.v4.new_notebook(cells=kept, metadata={"language_info": {"name": "python"}})
    return exporter.from_notebook_node(shown)[0]


def parameters(thing):
    "Name, type, usual value and meaning of all that a function or a class takes, and of what it returns."
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    yield from ((f.name, f.type, f.default, f.metadata["help"]) for f in fields if "help" in f.metadata)
    if any("help" in field.metadata for field in fields):
        return
    for name, told in docments(thing, full=True).items():
        if name != "self" and (told.docment or name != "return"):
            yield "returns" if name == "return" else name, told.anno, told.default, told.docment


def in_words(kind, value):
    "A type, or a usual value, as code; empty where there is none."
    if value in ABSENT or kind == "type" and value is None:
        return ""
    text = getattr(value, "__name__", str(value)) if kind == "type" else repr(value)
    return f"<code>{html.escape(text)}</code>"


def entry(name, thing):
    "What the reference says of one thing."
    rows = [
        f"<tr><td>{name}</td><td>{in_words('type', of)}</td><td>{in_words('value', usual)}</td>"
        f"<td>{html.escape(text or '')}</td></tr>"
        for name, of, usual, text in parameters(thing)
    ]
    head = "<tr><th>parameter</th><th>type</th><th>usual</th><th>what it is</th></tr>"
    start = f'<table class="words"><thead>{head}</thead><tbody>'
    table = f"{start}{''.join(rows)}</tbody></table>" if rows else ""
    return f"<h3>{name}</h3><p>{html.escape(inspect.getdoc(thing) or '')}</p>{table}"


def reference(book):
    "What a notebook exports: what it does, and a table of its parameters from docments."
    source = "\n".join(cell.source for cell in book.cells)
    found = re.search(r"^#\|\s*default_exp (\w+)", source, re.M)
    if not found:
        return ""
    module = importlib.import_module(f"vdistill.{found[1]}")
    things = {name: getattr(module, name) for name in module.__all__}
    mine = {
        n: x for n, x in things.items() if callable(x) and getattr(x, "__module__", "") == module.__name__
    }
    return "<h2>Reference</h2>" + "".join(entry(*one) for one in mine.items()) if mine else ""


def contents(titles, here):
    "The list of all chapters, the same on every page; folded."
    parts = []
    for name, title in titles.items():
        if name in PARTS:
            parts.append(f"</ul><h3>{PARTS[name]}</h3><ul>")
        link = posixpath.relpath(f"{name}.html", posixpath.dirname(here) or ".")
        now = ' aria-current="page"' if name == here else ""
        parts.append(f'<li><a href="{link}"{now}>{escape_html(title)}</a></li>')
    reports = posixpath.relpath("reports/index.html", posixpath.dirname(here) or ".")
    listed = "".join(parts).removeprefix("</ul>") + "</ul>"
    more = f'<h3>Measured</h3><ul><li><a href="{reports}">Reports</a></li></ul>'
    return f'<nav aria-label="Chapters"><details><summary>Contents</summary>{listed}{more}</details></nav>'


def neighbours(titles, here):
    "The chapters before and after."
    names, parts = list(titles), []
    at = names.index(here)
    for word, other in (("Before", at - 1), ("Next", at + 1)):
        if 0 <= other < len(names):
            link = posixpath.relpath(f"{names[other]}.html", posixpath.dirname(here) or ".")
            parts.append(f'{word}: <a href="{link}">{escape_html(titles[names[other]])}</a>')
    return f'<nav aria-label="Neighbours"><p>{" · ".join(parts)}</p></nav>'


def link_from(here, address, titles, source):
    "Where a link of a notebook leads in the documentation; files that are not in it, to the repository."
    path, anchor = urldefrag(address)
    if not path or re.match(r"[a-z]+:", path):
        return address
    path = posixpath.normpath(posixpath.join("nbs", posixpath.dirname(here), path))
    name = path.removeprefix("nbs/").removesuffix(".ipynb")
    if name in titles:
        path = f"{name}.html"
    elif not path.startswith("reports/"):
        return f"{source}/{path}"
    return posixpath.relpath(path, posixpath.dirname(here) or ".") + (f"#{anchor}" if anchor else "")


def finished(body, here, titles, source):
    "Clean HTML whose tables scroll in themselves and whose links fit."
    fit = lambda found: found[1] + link_from(here, found[2], titles, source)
    start = '<div class="scroll" role="region" aria-label="Table" tabindex="0">'
    body = LINK.sub(fit, only_to_read(body))
    return body.replace("<table", f"{start}<table").replace("</table>", "</table></div>")


def broken(folder):
    "Links of pages that lead to no file of the folder."
    wrong = []
    for file in sorted(folder.rglob("*.html")):
        for _, address in LINK.findall(file.read_text(encoding="utf-8")):
            address = unquote(urldefrag(address)[0])
            if address and not re.match(r"[a-z]+:", address) and not (file.parent / address).is_file():
                wrong.append(f"{file.relative_to(folder)}: {address}")
    return wrong


def build(out):
    "Write all pages below `out`."
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    source = f"{settings['DEFAULT']['git_url']}/blob/{settings['DEFAULT']['branch']}"
    books = chapters()
    titles = {name: study_intro(book)[0] or name for name, book in books.items()}
    skip = shutil.ignore_patterns("work", "demo*", "smoke", ".*")
    shutil.copytree(ROOT / "reports", out / "reports", ignore=skip)
    plainly = {"highlight_code": lambda source, **_: source and f"<pre>{html.escape(source)}</pre>"}
    exporter = HTMLExporter(template_name="basic", filters=plainly, **PLAIN)
    for here, book in books.items():
        body = finished(told(book, exporter) + reference(book), here, titles, source)
        whole = f"{contents(titles, here)}\n{body}\n{neighbours(titles, here)}"
        file = out / f"{here}.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(page(f"{titles[here]}, vdistill", whole), encoding="utf-8")
    return len(books)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "_docs", help="folder; what is there is replaced")
    out = parser.parse_args().out
    shutil.rmtree(out, ignore_errors=True)
    n, wrong = build(out), broken(out)
    print("\n".join([*wrong, f"{n} chapters: {out / 'index.html'}"]))
    sys.exit(1 if wrong else 0)
