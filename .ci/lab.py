"""A real JupyterLab in headless Chromium: notebooks are opened, restarted and run as a person does it.

By default the one-page notebook and a study, in a copy of the tree. Each has to run through, to show its
pictures, and to leave nothing that git does not know. It needs `chromium`, and some minutes. SHOTS names a
folder for pictures of what was seen.
"""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from test import copy_tree, environment
from websocket import create_connection  # comes with JupyterLab

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOTEBOOKS = ("nbs/00_one_page.ipynb", "nbs/studies/static_learning.ipynb")
PATIENCE = 900  # seconds for a notebook
OPENED = """(() => {
  const panel = window.jupyterapp?.shell.currentWidget;
  return Boolean(panel?.context?.isReady && panel.content.widgets.length)
    && panel.sessionContext.session?.kernel?.status === "idle";
})()"""
# answered at once: the promise of the command waits for the person's answer to its question
RESTART = "void jupyterapp.commands.execute('notebook:restart-run-all')"
AGREE = """(() => {
  const button = document.querySelector(".jp-Dialog .jp-mod-accept, .jp-Dialog .jp-mod-warn");
  if (button) button.click();
  return Boolean(button);
})()"""
STATE = """(() => {
  const cells = jupyterapp.shell.currentWidget.content.widgets.filter(c => c.model.type === "code");
  const filled = cells.filter(c => c.model.sharedModel.source.trim());
  const outputs = filled.flatMap(c => c.model.outputs.toJSON());
  return {cells: filled.length, done: filled.filter(c => c.model.executionCount).length,
    status: jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status,
    errors: outputs.filter(o => o.output_type === "error").map(o => o.ename + ": " + o.evalue)};
})()"""
PICTURES = """(async () => {
  const content = jupyterapp.shell.currentWidget.content, found = [];
  for (const [i, cell] of content.widgets.entries()) {
    if (cell.model.type !== "code") continue;
    const wanted = cell.model.outputs.toJSON().filter(o => o.data && (o.data["image/png"]
      || o.data["image/jpeg"] || /<img/.test([].concat(o.data["text/html"] || "").join("")))).length;
    if (!wanted) continue;
    await content.scrollToItem(i, "center");
    let shown = 0;
    for (let n = 0; n < 50 && shown < wanted; n++) {
      await new Promise(resolve => setTimeout(resolve, 100));
      shown = [...cell.node.querySelectorAll("img")].filter(m => m.complete && m.naturalWidth > 1).length;
    }
    found.push({cell: i, wanted, shown});
  }
  return found;
})()"""


class Browser:
    "A page of a headless Chromium, steered by its own protocol."

    def __init__(self, address, profile):
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser is None:
            raise SystemExit("Chromium is missing: apt-get install chromium")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,1400"]
        options += ["--remote-debugging-port=0", "--remote-allow-origins=*", f"--user-data-dir={profile}"]
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.process = subprocess.Popen([browser, *options, address], **quiet)
        told = profile / "DevToolsActivePort"
        wait("the browser", lambda: told.exists() and told.read_text().count("\n"), 120)
        port = told.read_text().split()[0]
        pages = lambda: json.load(urlopen(f"http://127.0.0.1:{port}/json/list"))
        found = wait("a page", lambda: [p for p in pages() if p["type"] == "page"], 60)
        self.socket = create_connection(found[0]["webSocketDebuggerUrl"], timeout=300)
        self.n = 0

    def ask(self, method, **parameters):
        "One command of the protocol and its answer."
        self.n += 1
        self.socket.send(json.dumps({"id": self.n, "method": method, "params": parameters}))
        while (answer := json.loads(self.socket.recv())).get("id") != self.n:
            pass
        return answer["result"]

    def value(self, script):
        "What a script in the page gives."
        told = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(told["exceptionDetails"]["exception"].get("description", told))
        return told["result"].get("value")

    def picture(self, file):
        "Keep what is seen."
        shot = self.ask("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


def wait(what, holds, seconds):
    "What `holds` gives as soon as that is true."
    end = time.time() + seconds
    while not (found := holds()):
        if time.time() > end:
            raise RuntimeError(f"{what} did not come within {seconds} s")
        time.sleep(0.5)
    return found


@contextlib.contextmanager
def laboratory(temp):
    "A JupyterLab on the copied tree, with the address that lets one in."
    words = [
        "lab",
        "--no-browser",
        "--allow-root",
        "--ServerApp.port=0",
        "--LabApp.expose_app_in_browser=True",
    ]
    log = open(temp / "lab.log", "w+")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyter", *words],
        cwd=temp / "tree",
        env=environment(temp, "lab") | {"JUPYTERLAB_WORKSPACES_DIR": str(temp / "workspaces")},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        text = lambda: re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", (temp / "lab.log").read_text())
        yield wait("JupyterLab", text, 120)[0]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)
        log.close()


def run_in_lab(address, book, temp, shots):
    "Open a notebook, restart it and run all; what is wrong, in words."
    base, _, token = address.partition("?")
    name = Path(book).stem  # also of a workspace, so that no other notebook is open in it
    browser = Browser(f"{base}/workspaces/{name}/tree/{book}?{token}", temp / f"profile-{name}")
    try:
        wait(f"{book} in JupyterLab", lambda: browser.value(OPENED), 180)
        browser.value(RESTART)
        wait("the question whether to restart", lambda: browser.value(AGREE), 60)
        ended = lambda s: s["errors"] or 0 < s["done"] == s["cells"] and s.get("status") == "idle"
        state = wait(f"the end of {book}", lambda: ended(s := browser.value(STATE)) and s, PATIENCE)
        pictures = browser.value(PICTURES)
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            browser.picture(shots / f"{name}.png")
    finally:
        os.killpg(browser.process.pid, signal.SIGTERM)
        browser.process.wait(60)
    wrong = [f"{book}: {error}" for error in state["errors"]]
    wrong += [f"{book}, cell {p['cell']}: {p['shown']} of {p['wanted']} pictures" for p in pictures
              if p["shown"] < p["wanted"]]  # fmt: skip
    return wrong + ([] if pictures else [f"{book} shows no picture"]), state["cells"], len(pictures)


def main(books, shots=None):
    "All notebooks; the number of those in which something is wrong."
    failed = 0
    with tempfile.TemporaryDirectory(prefix="vdistill-lab-", ignore_cleanup_errors=True) as temp:
        temp = Path(temp)
        copy_tree(temp / "tree")
        git = ["git", "-C", temp / "tree", "-c", "user.name=lab", "-c", "user.email=lab@localhost"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it is"]):
            subprocess.run([*git, *words], check=True)
        with laboratory(temp) as address:
            for book in books:
                started = time.time()
                wrong, cells, pictures = run_in_lab(address, book, temp, shots)
                status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
                left = [line[3:] for line in status.stdout.splitlines() if line.startswith("??")]
                wrong += [f"{book} leaves {name}" for name in left]
                failed += bool(wrong)
                word = "FAIL" if wrong else "PASS"
                seconds = time.time() - started
                print(f"{word} {book}: {cells} cells, {pictures} with pictures, {seconds:.0f} s", flush=True)
                print("".join(f"    {line}\n" for line in wrong), end="", flush=True)
    print(f"{len(books) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    shots = Path(os.environ["SHOTS"]) if "SHOTS" in os.environ else None
    sys.exit(1 if main(sys.argv[1:] or NOTEBOOKS, shots) else 0)
