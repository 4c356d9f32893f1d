"""`make faults`: every fault at full numbers, into reports/reliability/faults; run again, it goes on."""

import sys
from pathlib import Path

from vdistill.cli import run_study
from vdistill.recipes import CommandError
from vdistill.tries import PARTS

ROOT = Path(__file__).resolve().parent.parent
KINDS = ["DC", "DM", "MTT", "FRePo", "TNM", "evaluation", "taxonomy", "motion", "tuning"]
FULL = {
    "parts": list(PARTS),
    "kinds": KINDS,
    "tries": 20,
    "wrong": 100,
    "videos": 3000,
    "classes": 400,
    "frames": 60_000,
}

if __name__ == "__main__":
    try:
        run_study(ROOT / "nbs/studies/reliability.ipynb", ROOT, Path("reports/reliability/faults"), FULL)
    except CommandError as e:
        e.show()
        sys.exit(e.exit_code)
