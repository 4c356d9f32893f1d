"""Everything that must hold before a commit, one line a check; the last line is `N passed, N failed`.

It works in a copy of the tree, so the checkout stays as it is. `.ci/test.py WORD...` runs only the
checks whose name contains one of the words. VDISTILL_CACHE is respected; without it every job gets a
cache of its own.
"""

import difflib
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WORKERS = 2
SEED = 0  # of what a notebook's cells draw without a seed of their own
FORK = multiprocessing.get_context("fork")
# Imported once by each worker; the notebooks run in processes forked from it, each some seconds sooner.
PRELOADED = ("torch", "torch._dynamo", "torchvision", "pandas", "seaborn", "matplotlib.pyplot")
PRELOADED += ("sklearn.metrics", "nbdev.test", "papermill", "fastcore.test", "safetensors.torch")
PATHS = re.compile(r'[^\s"\'(]*(?:/(?:home|root|tmp|work|Users)/|site-packages)[^\s"\')]*')
RECIPE = re.compile(r"(?<![\w.-])([\w-]+\.ya?ml)\b")  # any .yaml file that a text names
TEXTS = (".ipynb", ".yaml", ".md", ".html")
LIMIT = {"notebook": 600, "study": 900, "tool": 240}  # seconds, for a machine that is busy with other work


class CheckFailed(Exception):
    "A check that does not hold; the text says what was found."


def copy_tree(to):
    "Copy what belongs to the project, and nothing that git ignores for its size."
    skip = shutil.ignore_patterns(
        ".git", ".venv", "data", "work", "__pycache__", ".ipynb_checkpoints", "*.egg-info", "build", "dist"
    )
    shutil.copytree(ROOT, to, ignore=skip)
    (to / "data").mkdir()


def environment(temp, name, path=None):
    "One thread a job, a cache of its own, and the copied tree (or `path`) first on the import path."
    env = dict(
        os.environ,
        OMP_NUM_THREADS="1",
        MKL_NUM_THREADS="1",
        PYTHONPATH=str(path or temp / "tree"),
        PYTHONDONTWRITEBYTECODE="1",
        PATH=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
    )
    env.setdefault("VDISTILL_CACHE", str(temp / "cache" / name))
    if (ROOT / "../shared/data").is_dir():
        env.setdefault("VDISTILL_DATA", str((ROOT / "../shared/data").resolve()))
    return env


def call(command, temp, name, limit, cwd=None, path=None):
    "Exit status and output of `command`, stopped with all its children after `limit` seconds."
    job = subprocess.Popen(
        [str(c) for c in command],
        cwd=cwd or temp / "tree",
        env=environment(temp, name, path),
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return job.communicate(timeout=limit)[0], job.returncode
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"still running after {limit} s") from None
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()


def must(command, temp, name, limit=LIMIT["tool"], **where):
    "The output of a command that has to succeed."
    out, status = call(command, temp, name, limit, **where)
    if status:
        raise CheckFailed(f"exit status {status}\n{out}")
    return out


def difference(old, new, name):
    "The first lines of a unified diff."
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{name} (found)", f"{name} (expected)", lineterm="", n=1
    )
    return "\n".join(list(lines)[:20])


def modules_in_step(temp):
    "vdistill/ is what nbdev_export makes of the notebooks, byte by byte."
    made = temp / "tree" / "vdistill"
    for f in made.glob("*.py"):
        if f.name != "__init__.py":
            f.unlink()
    must([BIN / "nbdev_export"], temp, "export")
    found, wanted = ({f.name: f.read_text() for f in d.glob("*.py")} for d in (ROOT / "vdistill", made))
    wrong = [
        difference(found.get(n, ""), wanted.get(n, ""), n)
        for n in sorted(found.keys() | wanted.keys())
        if found.get(n) != wanted.get(n)
    ]
    if wrong:
        raise CheckFailed("run nbdev_export\n" + "\n".join(wrong))


def notebooks_clean(temp):
    "nbdev_clean has nothing to change."
    books = sorted((temp / "tree" / "nbs").rglob("*.ipynb"))
    before = [b.read_bytes() for b in books]
    must([BIN / "nbdev_clean"], temp, "clean")
    dirty = [str(b.relative_to(temp / "tree")) for b, old in zip(books, before) if b.read_bytes() != old]
    if dirty:
        raise CheckFailed("run nbdev_clean: " + ", ".join(dirty))


def outputs_fit_to_read(temp):
    "What readers see names no folder of the machine, and shows no error and no progress bar."
    wrong = []
    for book in sorted((temp / "tree" / "nbs").rglob("*.ipynb")):
        for i, cell in enumerate(json.loads(book.read_text())["cells"]):
            for output in cell.get("outputs", []):
                plain = {k: v for k, v in output.items() if k != "data"}
                plain |= {k: v for k, v in output.get("data", {}).items() if k.startswith("text")}
                path = PATHS.search(json.dumps(plain))
                if path:
                    wrong.append(f"{book.name}, cell {i}: {path[0]}")
                expected = "raises-exception" in cell["metadata"].get("tags", [])
                if output.get("name") == "stderr":
                    wrong.append(f"{book.name}, cell {i}: stderr")
                if output["output_type"] == "error" and not expected:
                    wrong.append(f"{book.name}, cell {i}: {output['ename']}")
    if wrong:
        raise CheckFailed("\n".join(wrong))


def readme_in_step(temp):
    "README.md is what nbs/index.ipynb gives."
    if not (ROOT / "nbs" / "index.ipynb").exists():
        raise CheckFailed("nbs/index.ipynb is missing")
    wanted = must([sys.executable, ".ci/readme.py"], temp, "readme")
    found = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""
    if found != wanted:
        raise CheckFailed("run .ci/readme.py --write\n" + difference(found, wanted, "README.md"))


def named_recipes(path):
    "Names of recipes in a text; of a library notebook's code only those with a folder."
    text = path.read_text(errors="replace")
    if path.suffix == ".ipynb" and path.parent.name == "nbs":
        cells = json.loads(text)["cells"]
        code = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        text = " ".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        found = [*RECIPE.findall(text), *re.findall(r"recipes/([\w-]+\.ya?ml)", code)]
    else:
        found = RECIPE.findall(text)
    return {name for name in found if not name[:-5].isupper()}  # NAME.yaml stands for any


def one_style(temp):
    "Lines of at most 110 characters, one statement a line, one way to quote, in notebooks and scripts alike."
    places = ["nbs", ".ci", "setup.py"]
    for command in (["format", "--diff"], ["check", "--output-format", "concise"]):
        out, status = call([sys.executable, "-m", "ruff", *command, *places], temp, "style", LIMIT["tool"])
        if status:
            raise CheckFailed(f"run `ruff {command[0]} {' '.join(places)}`\n{out}")


def recipes_exist(temp):
    "A recipe that any text names (notebook, recipe, report, README) is there, so that its command works."
    there = {r.name for r in (ROOT / "nbs" / "recipes").glob("*.yaml")}
    texts = [
        f for folder in ("nbs", "reports") for f in sorted((ROOT / folder).rglob("*")) if f.suffix in TEXTS
    ]
    wrong = []
    for path in (*ROOT.glob("*.md"), *ROOT.glob("data/*.md"), ROOT / "Makefile", *texts):
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(named_recipes(path) - there)]
    if wrong:
        raise CheckFailed("no such recipe\n" + "\n".join(wrong))


def preload():
    "In a worker: what the notebooks import that is not the project's."
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    for name in PRELOADED:
        importlib.import_module(name)


def in_fork(book, temp, said):
    "In a forked process: execute a notebook of the copied tree."
    os.setsid()
    output = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, errors="replace", closefd=False)
    os.environ.update(environment(temp, said.stem))
    sys.path.insert(0, str(temp / "tree"))
    os.chdir(temp / "tree")
    sys.exit(one_notebook(book))


def executed(book, temp, name):
    "Exit status and output of a notebook of the copied tree, run from top to bottom in a process of its own."
    said = temp / f"{name}.txt"
    job = FORK.Process(target=in_fork, args=(book, temp, said))
    job.start()
    job.join(LIMIT["notebook"])
    if job.exitcode is None:
        os.killpg(job.pid, signal.SIGKILL)
        job.join()
        raise CheckFailed(f"still running after {LIMIT['notebook']} s")
    return job.exitcode, said.read_text(errors="replace")


def notebook(book):
    "A library notebook runs from top to bottom."

    def check(temp):
        status, said = executed(book, temp, book.stem)
        if status:
            raise CheckFailed(f"exit status {status}\n{said}")

    return check


def run_study(book, out, temp):
    "Plain papermill on a study, its report and results under `out`."
    out.mkdir(parents=True)
    return call(
        [
            sys.executable,
            "-m",
            "papermill",
            book,
            out / "report.ipynb",
            "-k",
            "python3",
            "--no-progress-bar",
            "--cwd",
            temp / "tree",
            "-p",
            "out",
            out,
        ],
        temp,
        book.stem,
        LIMIT["study"],
    )


def study(book):
    "A study at its default, small size ends with complete results."

    def check(temp):
        out = temp / "out" / book.stem
        text, status = run_study(book, out, temp)
        if status:
            raise CheckFailed(f"exit status {status}\n{text}")
        if not (out / "results.json").exists():
            raise CheckFailed("papermill succeeded but there is no results.json")
        results = json.loads((out / "results.json").read_text())
        if results.get("status") != "complete":
            raise CheckFailed(f"results.json has status {results.get('status')!r}")
        if not results.get("metrics"):
            raise CheckFailed("results.json holds no metrics")
        faults = [one for tallies in results["metrics"].get("faults", {}).values() for one in tallies]
        if lost := [f"{one['fault']} ({one['of']}): {why}" for one in faults for why in one["lost"]]:
            raise CheckFailed("not survived\n" + "\n".join(lost))

    return check


def misspelled(book):
    "papermill only warns about an unknown parameter; the study itself must refuse it."

    def check(temp):
        from papermill.iorw import load_notebook_node, write_ipynb
        from papermill.parameterize import parameterize_notebook

        name = f"{book.stem}-misspelled"
        out = temp / "out" / name
        given = {"out": str(out), "datasett": "digits"}
        changed = temp / f"{name}.ipynb"
        write_ipynb(parameterize_notebook(load_notebook_node(str(temp / "tree" / book)), given), str(changed))
        status, said = executed(changed, temp, name)
        if not status:
            raise CheckFailed("a misspelled parameter was accepted")
        if "ParameterError" not in said or "datasett" not in said:
            raise CheckFailed(f"failed for another reason\n{said}")
        if (out / "results.json").exists():
            raise CheckFailed("it failed, yet left a results.json")

    return check


def kill_learning(work, running):
    "SIGKILL the job of the row that learns, once it has begun."
    while not running.done():
        time.sleep(0.05)
        if not any(work.glob("*-seed0-*/row.txt")):
            continue
        commands = json.loads((work / "grid" / "jobs.json").read_text())["rows"]
        key = next(key for key, command in commands.items() if "--only-row distilled" in command)
        holder = json.loads((work / f"{key}.job.lock.holder").read_text())
        os.kill(holder["process"], signal.SIGKILL)
        return


def grid_goes_on(whole, temp):
    "vdistill grid: two jobs at once, one killed; the same command then ends as the whole run did."
    out = whole.with_name("grid")
    command = [BIN / "vdistill", "grid", whole.parent.name, "--out", out, "--cores", "2"]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(call, command, temp, "cli", LIMIT["study"])
        kill_learning(out / "work", running)
        text, status = running.result()
    if status != 1 or "Execute 2 jobs" not in text or "some jobs failed" not in text:
        raise CheckFailed(f"grid, a job killed: exit status {status}\n{text}")
    if (out / "results.json").exists() or len(list((out / "work").glob("job-*/done.json"))) != 1:
        raise CheckFailed(f"grid, a job killed: not one of two jobs is done\n{text}")
    must(command, temp, "cli", LIMIT["study"])
    found, wanted = (json.loads((folder / "results.json").read_text()) for folder in (out, whole))
    if found["metrics"] != wanted["metrics"]:
        raise CheckFailed(f"grid: {found['metrics']} is not {wanted['metrics']}")


def command_line(name):
    "vdistill run, the same again, export and reports, the same as jobs, as a user types them."

    def check(temp):
        vdistill, root = BIN / "vdistill", temp / "out" / "reports"
        out = root / name / "smoke"
        first = must([vdistill, "run", name, "--out", out], temp, "cli", LIMIT["study"])
        if not (out / "report.html").exists():
            raise CheckFailed(f"no report.html\n{first}")
        again = must([vdistill, "run", name, "--out", out], temp, "cli")
        if "this run is finished" not in again:
            raise CheckFailed(f"the finished run was run again\n{again}")
        must([vdistill, "reports", root], temp, "cli")
        if name not in (root / "index.html").read_text():
            raise CheckFailed("the index does not name the study")
        for to in ("png", "gif", "mp4"):
            for file in sorted(out.glob("*.safetensors"))[:1]:
                picture = temp / "out" / f"set.{to}"
                must([vdistill, "export", file, "--to", to, "--out", picture], temp, "cli")
                if not picture.stat().st_size:
                    raise CheckFailed(f"empty {to}")
        out_text, status = call(
            [vdistill, "run", name, "-p", "datasett", "digits"], temp, "cli", LIMIT["tool"]
        )
        if status != 2 or "datasett" not in out_text:
            raise CheckFailed(f"a misspelled parameter: exit status {status}\n{out_text}")
        grid_goes_on(out, temp)

    return check


def commands_hold(temp):
    "Every command that README.md and the recipes name is run, or checked up to where its work begins."
    must([sys.executable, ".ci/commands.py"], temp, "commands", LIMIT["notebook"])


def documentation(temp):
    "The pages of the documentation are made, and no link in them leads nowhere."
    must([sys.executable, ".ci/docs.py", "--out", temp / "docs"], temp, "docs", LIMIT["notebook"])


def wheel(temp):
    "A wheel alone is whole: its page on an index, the command and its studies, outside of any checkout."
    site, desk = temp / "site", temp / "desk"
    desk.mkdir()
    source = shutil.copytree(temp / "tree", temp / "source")  # building leaves folders
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    must([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", temp, source], temp, "wheel")
    must([*pip, "install", "--no-deps", "--no-index", "--target", site, *temp.glob("*.whl")], temp, "wheel")
    page = next(site.glob("vdistill-*/METADATA")).read_text(encoding="utf-8")
    if near := re.findall(r"\]\((?!https?://)([^)]*)\)", page):
        raise CheckFailed(f"addresses that lead nowhere on a package index: {near}")
    inside = {"cwd": desk, "path": site}
    must([site / "bin" / "vdistill", "recipes"], temp, "wheel", **inside)
    must([site / "bin" / "vdistill", "run", "--help"], temp, "wheel", **inside)
    book = Path(must([site / "bin" / "vdistill", "notebook", "evaluation"], temp, "wheel", **inside).strip())
    if not book.is_relative_to(site):
        raise CheckFailed(f"the study is not that of the wheel: {book}")
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", book, "out.ipynb", "-k", "python3"]
    must(papermill, temp, "wheel", LIMIT["study"], **inside)
    two = ["run", "static_learning", "--processes", "2", "--out", "reports/two"]
    two += [word for name in ("objectives.DC.steps", "judge.epochs") for word in ("-p", name, "2")]
    must([site / "bin" / "vdistill", *two], temp, "wheel", LIMIT["study"], **inside)
    for name in ("evaluation/smoke", "two"):
        found = json.loads((desk / "reports" / name / "results.json").read_text())
        if found.get("status") != "complete":
            raise CheckFailed(f"results.json of {name} has status {found.get('status')!r}")


def all_checks():
    "The checks as (name, function): those of the tree, and those that execute something, longest first."
    nbs = ROOT / "nbs"
    tree = [
        ("modules in step with notebooks", modules_in_step),
        ("notebooks clean", notebooks_clean),
        ("outputs fit to read", outputs_fit_to_read),
        ("README in step with index", readme_in_step),
        ("recipes that texts name", recipes_exist),
        ("one style", one_style),
    ]
    studies = [Path("nbs/studies") / b.name for b in sorted((nbs / "studies").glob("*.ipynb"), reverse=True)]
    books = [Path("nbs") / b.name for b in sorted(nbs.glob("[0-9]*.ipynb"), reverse=True)]
    if (nbs / "index.ipynb").exists():
        books.append(Path("nbs/index.ipynb"))
    run = [(f"study {b.stem}", study(b)) for b in studies]
    run += [(f"command line {b.stem}", command_line(b.stem)) for b in studies if b.stem == "static_learning"]
    run += [
        ("wheel by itself", wheel),
        ("documentation", documentation),
        ("commands of README and recipes", commands_hold),
    ]
    run += [(f"notebook {b.stem}", notebook(b)) for b in books]
    run += [(f"misspelled parameter in {b.stem}", misspelled(b)) for b in studies]
    return tree, run


def timed(name, check, temp):
    "Run one check and print its line; True if it holds."
    started = time.time()
    try:
        check(temp)
    except CheckFailed as e:
        error = str(e)
    except Exception as e:
        error = f"{type(e).__name__}: {e}"
    else:
        error = None
    text = "" if error is None else "\n" + "\n".join("    " + line for line in error.splitlines()[-60:])
    print(f"{'PASS' if error is None else 'FAIL'} {name} {time.time() - started:.1f} s{text}", flush=True)
    return error is None


def timed_by_name(name, temp):
    "In a worker: the same for the check of that name."
    return timed(name, dict(all_checks()[1])[name], temp)


def main(words):
    "Run the checks and print the count."
    tree, run = ({n: c for n, c in part if not words or any(w in n for w in words)} for part in all_checks())
    with tempfile.TemporaryDirectory(prefix="vdistill-test-") as temp:
        temp = Path(temp)
        copy_tree(temp / "tree")
        passed = [timed(n, c, temp) for n, c in tree.items()]
        with ProcessPoolExecutor(WORKERS, FORK, preload) as pool:
            passed += [f.result() for f in as_completed([pool.submit(timed_by_name, n, temp) for n in run])]
    print(f"{sum(passed)} passed, {len(passed) - sum(passed)} failed")
    return 0 if passed and all(passed) else 1


def one_notebook(path):
    "Execute one notebook, every draw as always; nbdev prints the traceback of the cell that fails."
    import numpy as np
    import torch
    from nbdev.config import get_config
    from nbdev.test import test_nb

    # torch starts each process with another seed
    for fix in (random.seed, np.random.seed, torch.manual_seed):
        fix(SEED)
    skip = get_config().tst_flags.split() + ([] if torch.cuda.is_available() else ["gpu"])
    return 0 if test_nb(Path(path).absolute(), skip_flags=skip, basepath=get_config().config_path)[0] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
