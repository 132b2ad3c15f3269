"""The part of `bench` that measures SSH, beside this machine's own sshd."""

import os
import shutil
import socket
import statistics
import subprocess
import time
from pathlib import Path

OPTIONS = [
    "-F/dev/null",
    "-oStrictHostKeyChecking=no",
    "-oUserKnownHostsFile=/dev/null",
    "-oLogLevel=ERROR",
    "-oBatchMode=yes",
]


def measure(access, directory, results):
    """`access` is the answer of createSshAccess. The same client program asks both servers."""
    words = access["sshCommand"].split()
    ours = [*OPTIONS, "-oIdentityFile=none", *words[1:]]
    results.update(timed("SSH", ours, directory))
    sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if not sshd or not shutil.which("ssh-keygen"):
        print("not compared: no sshd on this machine (openssh-server)")
        return
    with Sshd(sshd, Path(directory)) as theirs:
        results.update(timed("sshd", theirs, directory))


def timed(name, where, directory):
    """A command on a connection of its own, one on a shared connection, and bytes through it, each as the client sees it."""
    path = f"{directory}/{name}.mux"
    command = lambda *options, run="true": subprocess.run(
        ["ssh", *options, *where, run], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    connect = p50_ms(20, command)
    master = subprocess.Popen(["ssh", "-MN", f"-S{path}", *where], stdin=subprocess.DEVNULL)
    try:
        while not os.path.exists(path):
            time.sleep(0.005)
        shared = p50_ms(60, lambda: command(f"-S{path}"))
        bytes_ = p50_ms(3, lambda: command(f"-S{path}", run="head -c 64M /dev/zero"))
    finally:
        master.terminate()
        master.wait()
    return {f"{name} connect + true": connect, f"{name} true": shared, f"{name} output": 64_000 / bytes_}


class Sshd:
    """The machine's own server, with keys of its own, for this user."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory

    def __enter__(self):
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.directory / name], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.makedirs("/run/sshd", exist_ok=True)
        settings = {
            "ListenAddress": f"127.0.0.1:{port}",
            "HostKey": self.directory / "host",
            "AuthorizedKeysFile": self.directory / "user.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "PermitRootLogin": "yes",
            "MaxStartups": 100,
            # A shell's start-up files are not what is measured.
            "SetEnv": "HOME=/nonexistent",
        }
        file = self.directory / "sshd_config"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.process = subprocess.Popen([self.program, "-D", "-f", str(file)], stderr=subprocess.DEVNULL)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        return [*OPTIONS, f"-i{self.directory / 'user'}", "-oIdentitiesOnly=yes", f"-p{port}", f"{user}@127.0.0.1"]

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def p50_ms(count, work):
    times = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)
