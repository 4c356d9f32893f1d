"""Try every command that README.md and the recipes name, in the current tree; a line for each says how.

What takes a moment is run. What would take minutes, need data or a GPU, or install something, is checked up
to where its work begins: vdistill reads words, recipe and parameters, papermill only prepares, make names
what it would do. Exit status 1 where one does not hold.
"""

import contextlib
import io
import re
import shlex
import subprocess
import sys
import traceback
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"datasets", "recipes", "export", "card", "reports"}  # of vdistill; so is every --help
BEGUN = ("vdistill.cli.run_study", "vdistill.grid.run_grid")  # where long work begins
AHEAD = ("check_data", "complete_earlier", "finished")  # what a command does with data and earlier runs


def blocks(text, language):
    "Code blocks of a language in Markdown."
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(text):
    "The commands of the bash blocks, as lists of words without comments."
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def recipe_commands(folder):
    "The commands of recipes, without variables of the environment, on the CPU; N stands for a number."
    found = []
    for recipe in sorted(folder.glob("*.yaml")):
        text = recipe.read_text(encoding="utf-8")
        if command := re.search(r"^# Command: (?:\w+=\S+ )*(.*)$", text, re.M):
            words = shlex.split(re.sub(r"\bN\b", "2", command[1]))
            found.append(words + (["-p", "device", "cpu"] if re.search(r"^device: cuda", text, re.M) else []))
    return found


def run_vdistill(words):
    "Run a quick command."
    from vdistill.cli import main

    main(words, "vdistill", standalone_mode=False)


def check_vdistill(words):
    "Go up to where the work of a long command begins."
    from vdistill import cli

    begun = []
    with contextlib.ExitStack() as stack:
        for name in AHEAD:
            stack.enter_context(mock.patch.object(cli, name, return_value=None))
        stack.enter_context(mock.patch.object(cli, "helpers", lambda *_: contextlib.nullcontext()))
        for place in BEGUN:
            stack.enter_context(mock.patch(place, lambda *_: begun.append(1)))
        run_vdistill(words)
    if not begun:
        raise RuntimeError("it did not come to its work")


def call(words):
    "Run a command in a process of its own."
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def try_command(words):
    "Run or check one command; says which."
    tool, *rest = words
    if tool == "make":
        call(["make", "-n", *rest])
        return "make has it"
    if tool == "papermill":
        call([sys.executable, "-m", "papermill", "--prepare-only", *rest])
        return "prepared"
    if tool != "vdistill":
        raise RuntimeError(f"nobody here knows how to try {tool}")
    quick = rest[0] in QUICK or "--help" in rest
    run_vdistill(rest) if quick else check_vdistill(rest)
    return "run" if quick else "checked up to its work"


def try_python(text):
    "Run the Python blocks; what they print has to be what the README shows below them."
    for block in blocks(text, "python"):
        shown = text.partition(block + "```\n")[2].lstrip("\n")
        wanted = [line[4:] for line in shown.splitlines()]
        said = call([sys.executable, "-c", block]).splitlines()
        if said != wanted[: len(said)]:
            raise RuntimeError(f"it prints {said}")
    return "run"


def main():
    "All of them; the number of those that do not hold."
    text, wrong = (ROOT / "README.md").read_text(), 0
    tries = [(shlex.join(words), try_command, words) for words in commands(text)]
    tries += [(shlex.join(words), try_command, words) for words in recipe_commands(ROOT / "nbs" / "recipes")]
    tries.append(("the Python of README.md", try_python, text))
    for name, attempt, given in tries:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                how = attempt(given)
        except (Exception, SystemExit):
            wrong += 1
            how = "DOES NOT HOLD\n" + said.getvalue() + traceback.format_exc(limit=-2)
        print(f"{name}: {how}", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
