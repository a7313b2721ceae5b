"""A real Slurm cluster of one node on loopback for tests, from the packages slurm-wlm and munge of Debian or Ubuntu.

    with cluster(folder, cpus=4) as slurm:
        slurm.run("sbatch", "--wrap", "hostname")

    python -m tests.harness.jobs.slurm.cluster --folder slurm-test -- sh -c 'srun hostname; squeue'

munged, slurmctld and slurmd are children of this process and run as its user, root or not. Key, sockets, settings,
state and logs lie in `folder`. There is no systemd, no cgroup and no accounting, hence no sacct: squeue --states=all
shows a job for five minutes after its end. Seen to run with Slurm 22.05 (Debian 12), 23.11 (Ubuntu 24.04) and 24.11.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = {"munge": ["munged"], "slurm-wlm": ["slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo"]}
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # a user's PATH lacks the daemons'
START_S, STOP_S = 180, 60  # a loaded machine takes its time
LONGEST = 75  # characters: Linux ends a socket's path at 107, and slurmstepd's is spool/node_123456.4294967291.0


def missing() -> list[str]:
    """The Debian packages to install before `cluster` can start."""
    return [p for p, names in PROGRAMS.items() if not all(shutil.which(name, path=PATH) for name in names)]


class Cluster:
    """A running cluster. `environment` is what a command needs to reach it: SLURM_CONF, PATH, and no outer job's."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.settings = folder / "slurm.conf"
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH_", "SRUN_", "SUBMITIT_"))}
        self.environment = outer | {"SLURM_CONF": str(self.settings), "PATH": PATH}
        self.daemons: dict[str, subprocess.Popen] = {}
        self.strangers = self.processes()  # a shell that names these settings already, say: not ours to end

    def run(self, *command: str) -> str:
        """What a command prints; a RuntimeError with its complaint where it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr or done.stdout).strip()
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {why}")
        return done.stdout.strip()

    def stop_controller(self) -> None:
        """slurmctld saves its state and ends: jobs go on, and sbatch, squeue and scancel fail."""
        self._stop("slurmctld")

    def start_controller(self) -> None:
        """slurmctld starts, from its saved state where there is one; returns when the node can take jobs."""
        self._start("slurmctld", "-D", "-L", str(self.folder / "slurmctld.log"))
        self._wait("the node to be up", self._node_is_up)

    def restart_controller(self) -> None:
        """What an administrator does in the middle of your jobs."""
        self.stop_controller()
        self.start_controller()

    def logs(self, lines: int = 15) -> str:
        """The last lines that each daemon said. slurmctld.log and slurmd.log have them dated, but for bad settings."""
        tails = []
        for log in sorted(self.folder.glob("*.stderr")):
            tails += [f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(tails)

    def processes(self) -> set[int]:
        """Our daemons, jobs and their slurmstepd: each was started with our SLURM_CONF, whatever its --export says."""
        mark = f"SLURM_CONF={self.settings}".encode()
        found = set()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
        return found

    def _start(self, name: str, *options: str) -> None:
        # Ctrl-C reaches us alone, and a SIGKILL of us ends the daemons as well; jobs then run on to their end.
        command = ["setpriv", "--pdeathsig", "TERM", "--", name, *options]
        with open(self.folder / f"{name}.stderr", "ab") as log:
            self.daemons[name] = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _stop(self, name: str) -> None:
        if process := self.daemons.pop(name, None):
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait(self, what: str, holds) -> None:
        end = time.monotonic() + START_S
        while not holds():
            dead = [f"{n} ended with {p.returncode}" for n, p in self.daemons.items() if p.poll() is not None]
            if dead or time.monotonic() > end:
                why = ", ".join(dead) or f"waited {START_S} s for {what}"
                raise RuntimeError(f"Slurm did not start: {why}. The ends of the logs in {self.folder}:\n{self.logs()}")
            time.sleep(0.1)

    def _node_is_up(self) -> bool:
        command = ["sinfo", "--noheader", "--format", "%T"]
        state = subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout.strip()
        return state in ("idle", "mixed", "allocated", "completing")

    def _start_all(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        paths = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "seed-file": "munge.seed"}
        # --force: munged wants a socket that everybody reaches and distrusts pytest's folders, which are ours alone.
        self._start("munged", "--foreground", "--force", *(f"--{k}={self.folder / v}" for k, v in paths.items()))
        self._wait("munged's socket", (self.folder / "munge.socket").exists)
        self._start("slurmd", "-D", "-L", str(self.folder / "slurmd.log"))
        self.start_controller()

    def _stop_all(self) -> None:
        for name in ("slurmctld", "slurmd", "munged"):  # nothing new is scheduled, then nothing new is launched
            self._stop(name)
        for _ in range(20):  # jobs and their slurmstepd outlive slurmd
            if not (left := self.processes() - self.strangers):
                break
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


def _write_settings(folder: Path, cpus: int, memory_mb: int, overrides: dict[str, object]) -> None:
    with contextlib.ExitStack() as stack:  # both are held until both are known
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [s.getsockname()[1] for s in sockets]
    host, user = socket.gethostname().split(".")[0], subprocess.check_output(["id", "-un"], text=True).strip()
    settings = {
        "ClusterName": "test",
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": ports[0],
        "SlurmdPort": ports[1],
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket,cred_expire=5",  # s; so long a requeued job waits, 5 is the least
        "StateSaveLocation": f"{folder}/state",
        "SlurmdSpoolDir": f"{folder}/spool",
        "SlurmctldPidFile": f"{folder}/slurmctld.pid",
        "SlurmdPidFile": f"{folder}/slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "SlurmdParameters": "config_overrides",  # CPUs and memory are what we say: kept count of, never enforced
        "JobRequeue": 1,
        "ReturnToService": 2,
        "KillWait": 3,  # s from SIGTERM to SIGKILL
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
        "MaxArraySize": 10001,
    } | overrides
    lines = [f"{key}={value}" for key, value in settings.items()]
    node = {"NodeName": "node", "NodeHostname": host, "NodeAddr": "127.0.0.1", "CPUs": cpus, "RealMemory": memory_mb}
    lines.append(" ".join(f"{key}={value}" for key, value in node.items()))
    # Without DefMemPerCPU a job that names no memory takes the node's, and jobs run one after another.
    lines.append(f"PartitionName=test Nodes=node Default=YES DefMemPerCPU={max(memory_mb // cpus, 1)}")
    (folder / "slurm.conf").write_text("\n".join(lines) + "\n")
    # Nothing asks for a cgroup, yet slurmd loads a plugin; v2's wants systemd, and before 24.05 there is no "disabled".
    version = subprocess.run(["slurmd", "-V"], env={"PATH": PATH}, capture_output=True, text=True).stdout.split()[-1]
    plugin = "disabled" if version >= "24.05" else "cgroup/v1"
    (folder / "cgroup.conf").write_text(f"CgroupPlugin={plugin}\n")
    (folder / "state").mkdir(mode=0o700)
    (folder / "spool").mkdir(mode=0o755)


@contextlib.contextmanager
def cluster(
    folder: Path, *, cpus: int | None = None, memory_mb: int | None = None, **settings: object
) -> Iterator[Cluster]:
    """Starts the cluster in `folder`, new or empty, waits until its node is idle, and ends it with all of its jobs.

    The partition is `test`; `cpus` and `memory_mb` are the machine's unless given, and may be more. `settings` are keys
    of slurm.conf: MaxArraySize=4. ValueError for a folder in use or too long a path, RuntimeError with the ends of the
    logs where Slurm does not start.
    """
    folder = Path(folder).absolute()
    if packages := missing():
        raise ValueError(f"Slurm is not installed: apt-get install {' '.join(packages)}")
    if len(str(folder)) > LONGEST:
        raise ValueError(f"{folder} has {len(str(folder))} characters; sockets allow {LONGEST}: take a shorter folder")
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; a cluster wants a folder of its own: take a new one")
    memory_mb = memory_mb or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    _write_settings(folder, cpus or os.cpu_count() or 1, memory_mb, settings)
    running = Cluster(folder)
    try:
        running._start_all()
        yield running
    finally:
        running._stop_all()


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs COMMAND beside a Slurm cluster of one node.")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for the cluster's files")
    parser.add_argument("--cpus", type=int, help="CPUs that the node claims (this machine's)")
    parser.add_argument("command", nargs="+", metavar="COMMAND", help="after --")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the cluster ends as well
    try:
        with cluster(options.folder, cpus=options.cpus) as running:
            return subprocess.call(options.command, env=running.environment)
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
