"""A grid on a real SLURM: one node, this machine, in a scratch folder; what comes out equals the whole run.

Needs Debian or Ubuntu, and root to install slurm-wlm and munge and to start their daemons, which are stopped
at the end. Nothing is written outside the scratch folder but what the packages install, and
/etc/slurm/slurm.conf, which is removed again: jobs of Snakemake's plugin look for it there and nowhere else.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
PACKAGES = ("slurm-wlm", "munge")
PLUGIN = "snakemake-executor-plugin-slurm"
PLACE = Path("/etc/slurm/slurm.conf")
PATIENCE = 60  # seconds until the node must be idle
CONF = """ClusterName=scratch
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=600
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def must(*command, **more):
    "The output of a command that has to succeed."
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install():
    "Debian's packages and Snakemake's plugin, where they are not there yet."
    if os.geteuid() != 0:
        sys.exit("make slurm starts the daemons of SLURM and MUNGE: run it as root")
    if not all(shutil.which(name, path="/usr/sbin:/usr/bin") for name in ("slurmctld", "slurmd", "munged")):
        must("apt-get", "update")
        must("apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES)
    if not (BIN / "pip").exists() or subprocess.run([BIN / "pip", "show", "--quiet", PLUGIN]).returncode:
        must(sys.executable, "-m", "pip", "install", "--quiet", "-c", "constraints.txt", PLUGIN)


def free_ports(n):
    "Ports of this machine that nothing listens to."
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def daemons(folder):
    "MUNGE and SLURM of one node in that folder, for as long as the block lasts."
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    munge, host = folder / "munge.socket", socket.gethostname().split(".")[0]
    memory = int(must("slurmd", "-C").partition("RealMemory=")[2].split()[0])
    shape = {"host": host, "munge": munge, "cpus": os.cpu_count(), "memory": memory}
    if PLACE.exists():
        sys.exit(f"{PLACE} is there: this machine has a SLURM; vdistill grid ... --executor slurm uses it")
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(CONF.format(folder=folder, ports=free_ports(2), **shape))
    files = {"key": "key", "pid": "munge.pid", "log": "munge.log", "seed": "munge.seed"}
    words = [f"--{name}-file={folder / file}" for name, file in files.items()]
    started = []
    try:
        for command in (
            ["munged", "--foreground", "--force", f"--socket={munge}", *words],
            ["slurmctld", "-D"],
            ["slurmd", "-D"],
        ):
            with open(folder / f"{command[0]}.out", "w") as said:
                started.append(subprocess.Popen(command, stdout=said, stderr=said))
            time.sleep(2)
        yield
    finally:
        for daemon in reversed(started):
            daemon.terminate()
            daemon.wait()
        PLACE.unlink()


def await_node(folder):
    "Until jobs can begin."
    for _ in range(PATIENCE):
        told = subprocess.run(["sinfo", "--noheader", "-o", "%T"], capture_output=True, text=True)
        if told.stdout.strip() == "idle":
            return
        time.sleep(1)
    logs = "\n".join(
        f.read_text()[-2000:] for f in sorted(folder.glob("*.log")) + sorted(folder.glob("*.out"))
    )
    sys.exit(f"the node is not idle after {PATIENCE} s: {told.stdout}{told.stderr}\n{logs}")


def main():
    "Run a study as jobs of SLURM and as a whole, and compare all metrics, bit for bit."
    install()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="vdistill-slurm-") as temp:
        folder = Path(temp)
        run = [BIN / "vdistill", "run", "static_learning", "--out", folder / "whole"]
        grid = [BIN / "vdistill", "grid", "static_learning", "--out", folder / "grid"]
        grid += ["--executor", "slurm", "--jobs", "2", "--slurm-status-command", "squeue"]
        grid += ["--default-resources", "slurm_partition=main", "runtime=30", "mem_mb=3000"]
        with daemons(folder):
            await_node(folder)
            subprocess.run(list(map(str, grid)), check=True)
            submitted = must("squeue", "--all", "--states=all", "--noheader", "-o", "%i %T")
            print(f"jobs of SLURM:\n{submitted}")
        subprocess.run(list(map(str, run)), check=True)
        found, wanted = (json.loads((folder / n / "results.json").read_text()) for n in ("grid", "whole"))
    if found["metrics"] != wanted["metrics"]:
        sys.exit(f"not equal: {found['metrics']} is not {wanted['metrics']}")
    if submitted.count("COMPLETED") < 3:
        sys.exit("fewer than three jobs went through SLURM")
    print("equal: the metrics of the grid on SLURM are those of the whole run")


if __name__ == "__main__":
    main()
