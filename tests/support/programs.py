"""Programs in processes of their own, without the seconds that each would take to import torch and the like.

A server has imported what the programs need from elsewhere, and nothing of the project. It forks for each program,
which then is what `python -m MODULE` is: it imports the project from its PYTHONPATH, has its own environment and
folder, can be killed, and ends as any process does. What such a fork cannot show wants a new interpreter: that a
program imports little, and what PYTHONHASHSEED does. PyTorch has one thread here. Where somebody else starts the
program, a scheduler, `stand_in` is what it may start instead of Python.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTED = ("torch", "torch.distributed", "torch.nn.attention.flex_attention", "timm", "timm.optim",
            "timm.scheduler", "torchvision.transforms.v2", "fvcore.nn", "safetensors.torch",
            "pandas", "seaborn", "scipy.stats", "sklearn.datasets", "sklearn.model_selection", "jinja2", "filelock",
            "tqdm")  # fmt: skip


class Program:
    """A running program, with what subprocess.Popen has of use here."""

    def __init__(self, module, words, cwd, env, executable=None):
        self.module, self.returncode, self.cpu_s = module, None, None
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        self.stdout, self.stderr = open(out), open(err)  # noqa: SIM115 (open as long as this is)
        more = {} if executable is None else {"executable": str(executable)}
        self.connection, self.said, self.pid = asked(server(), module, words, cwd, env, (out_end, err_end), **more)
        for end in (out_end, err_end):
            os.close(end)

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self.connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.module, timeout)
            self.returncode, self.cpu_s = json.loads(self.said.readline())
        return self.returncode

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout=None):
        """What it says from here to its end, as (out, err)."""
        said = {}
        readers = [threading.Thread(target=lambda pipe=pipe: said.update({pipe: pipe.read()}), daemon=True)
                   for pipe in (self.stdout, self.stderr)]  # fmt: skip
        end = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if end is None else max(0.0, end - time.monotonic()))
        if any(reader.is_alive() for reader in readers):
            raise subprocess.TimeoutExpired(self.module, timeout)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        return said[self.stdout], said[self.stderr]


def asked(where, module, words, cwd, env, ends, **more):
    """Asks the server for a program that writes to these two; the connection, what is said on it, and the process."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(where)
    task = {"module": module, "words": [str(word) for word in words], "cwd": str(cwd or os.getcwd()), "env": env}
    task["path"] = [task["cwd"], *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    data = json.dumps(task | more).encode()
    socket.send_fds(connection, [len(data).to_bytes(8, "big")], list(ends))
    connection.sendall(data)
    said = connection.makefile()
    return connection, said, int(said.readline())


def start(module, *words, cwd=None, env=None, executable=None):
    """Starts `python -m module words`; env: what its environment has beside this process's, PYTHONPATH by default.

    executable: what is Python to it, sys.executable.
    """
    mine = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return Program(module, words, cwd, mine | (env or {}), executable)


def run(module, *words, cwd=None, env=None, timeout=None):
    """Runs it to its end; a subprocess.CompletedProcess."""
    program = start(module, *words, cwd=cwd, env=env)
    out, err = program.communicate(timeout)
    return subprocess.CompletedProcess([module, *words], program.returncode, out, err)


def spent(command):
    """What a command prints that ends with 0, and its seconds of CPU time, in which others' work does not count."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return said, used.ru_utime + used.ru_stime


def environment():
    """The server's own: not that of a cluster, which ends with all processes that were started with its settings."""
    mine = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
    return mine | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


@cache
def server():
    """Starts the server of this process; the path of its socket."""
    folder = tempfile.TemporaryDirectory(prefix="programs-")
    where = os.path.join(folder.name, "socket")
    process = subprocess.Popen([sys.executable, __file__, where], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               env=environment())  # fmt: skip

    def end():
        process.stdin.close()  # tells it
        process.wait()
        folder.cleanup()

    atexit.register(end)
    assert process.stdout.readline() == b"ready\n"
    return where


def stand_in(folder):
    """Writes what may be called as Python is, `-u -m module words`, and is such a fork to whoever starts it."""
    file = Path(folder, "python")
    command = shlex.join([sys.executable, "-IS", __file__, server()])
    file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    file.chmod(0o755)
    return file


def stand(where, module, *words):
    """Lives as long as the program that it asks for, which hears its signals, ends with it and has its outputs."""
    heard = (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, heard)  # until there is who hears them
    _, said, pid = asked(where, module, words, None, dict(os.environ), (1, 2), bound=True)

    def passed(number, _):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in heard:
        signal.signal(number, passed)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
    code, _ = json.loads(said.readline())
    if code < 0:
        if -code in heard:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def serve(where):
    """The server: returns in a process that is to become a program, with what it is to become."""
    atexit.register(silent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in IMPORTED:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else each program would look through all of it, and copy what it looks at: two seconds of its three
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(where)
    listening.listen()
    print("ready", flush=True)
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if (task := kept(connection, listening)) is not None:
            return task
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return None


def silent():
    """The last that a program does at its end: of what is frozen nanobind says that it leaks."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def kept(connection, listening):
    """Forks a process that forks the program, waits for it and tells how it ended; in the program what it is to do."""
    if os.fork():
        return None
    listening.close()
    length, ends, _, _ = socket.recv_fds(connection, 8, 2)
    with connection.makefile("rb") as file:
        task = json.loads(file.read(int.from_bytes(length, "big")))
    if pid := os.fork():
        for number in ends:
            os.close(number)
        connection.sendall(f"{pid}\n".encode())
        if task.get("bound"):
            ended = os.pidfd_open(pid)
            if ended not in select.select([ended, connection], [], [])[0]:  # who asked is no more
                os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
        with contextlib.suppress(OSError):  # nobody asks any more
            ended = [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime]
            connection.sendall(f"{json.dumps(ended)}\n".encode())
        os._exit(0)
    connection.close()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, end in zip((0, 1, 2), (nothing, *ends), strict=True):
        os.dup2(end, number)
        os.close(end)
    return task


def become(task):
    """Is `python -m` with the task's words."""
    os.environ.clear()
    os.environ.update(task["env"])
    os.chdir(task["cwd"])
    sys.path[:1] = task["path"]  # in the place of this file's folder
    sys.argv = [task["module"], *task["words"]]
    sys.executable = task.get("executable", sys.executable)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    importlib.invalidate_caches()
    runpy.run_module(task["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may not hear Ctrl-C
    if sys.argv[2:4] == ["-u", "-m"]:
        sys.exit(stand(sys.argv[1], *sys.argv[4:]))
    if (found := serve(sys.argv[1])) is not None:
        become(found)
