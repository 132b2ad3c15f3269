"""Git, language servers and the desktop: the second half of scripts/bench, beside the same done by hand in the sandbox."""

import base64
import json
import shutil
import statistics
import subprocess
import time

REPOSITORY = """
mkdir -p /tmp/bench/repo && cd /tmp/bench/repo && git init -q . && git config user.email a@b.c && git config user.name a
for i in $(seq 1 100); do mkdir -p d$i; for j in $(seq 1 50); do echo needle $i $j > d$i/f$j.txt; done; done
git add . && git commit -q -m all && echo changed > d1/f1.txt && echo new > new.txt
"""

# Prints the median in milliseconds of what its arguments run.
BY_HAND = """
import statistics, subprocess, sys, time
times = []
for _ in range(11):
    started = time.perf_counter()
    subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times.append(time.perf_counter() - started)
print(statistics.median(times[1:]) * 1000)
"""

# Prints the median in milliseconds from the start of the language server that its argument names to its first answer.
LSP_BY_HAND = """
import json, statistics, subprocess, sys, time
def send(server, message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    server.stdin.write(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
    server.stdin.flush()
def receive(server, wanted):
    while True:
        length = 0
        while (line := server.stdout.readline().strip()):
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        message = json.loads(server.stdout.read(length))
        if message.get("id") == wanted:
            return message
def once():
    started = time.perf_counter()
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    uri, root = "file:///tmp/bench/lsp/a.py", "file:///tmp/bench/lsp"
    send(server, {"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": root, "capabilities": {}}})
    receive(server, 1)
    send(server, {"method": "initialized", "params": {}})
    document = {"uri": uri, "languageId": "python", "version": 1, "text": open("/tmp/bench/lsp/a.py").read()}
    send(server, {"method": "textDocument/didOpen", "params": {"textDocument": document}})
    send(server, {"id": 2, "method": "textDocument/documentSymbol", "params": {"textDocument": {"uri": uri}}})
    receive(server, 2)
    took = (time.perf_counter() - started) * 1000
    server.kill()
    server.wait()
    return took
print(statistics.median(once() for _ in range(5)))
"""

# Put where the toolbox looks for it: what was installed elsewhere, unpacked beside.
PYLSP = """
cd && tar xf /tmp/bench/pylsp.tar && mkdir -p .local/bin &&
printf '#!/bin/sh\\nPYTHONPATH=%s/pylsp exec python3 -m pylsp "$@"\\n' "$PWD" >.local/bin/pylsp && chmod +x .local/bin/pylsp
"""


def run(toolbox, command):
    answer = toolbox.json("POST", "/process/execute", {"command": command})
    if answer["exitCode"] != 0:
        raise RuntimeError(f"{command[:60]!r} exited with {answer['exitCode']}: {answer['result'][:300]}")
    return answer["result"]


def python(toolbox, program, *arguments):
    """Runs a Python program inside; the number that it prints."""
    encoded = base64.b64encode(program.encode()).decode()
    words = " ".join(f"'{word}'" for word in arguments)
    return float(run(toolbox, f"echo {encoded} | base64 -d > /tmp/bench/program.py; python3 /tmp/bench/program.py {words}"))


def measure_git(toolbox, p50_ms, results):
    run(toolbox, REPOSITORY)
    status = "/git/status?path=/tmp/bench/repo"
    results["git status of 5,000 files"] = p50_ms(20, lambda: toolbox.request("GET", status))
    command = ["git", "-C", "/tmp/bench/repo", "status", "--porcelain=v2", "--branch", "--untracked-files=all"]
    results["the same, git by hand"] = python(toolbox, BY_HAND, *command)


def measure_language_server(toolbox, upload, directory, results):
    run(toolbox, "mkdir -p /tmp/bench/lsp; echo 'class A: pass' > /tmp/bench/lsp/a.py")
    find = "PATH=$PATH:$HOME/.local/bin; command -v pylsp || true"
    if not run(toolbox, find):
        upload("pylsp.tar", pylsp(directory))
        run(toolbox, PYLSP)
    program = run(toolbox, find).strip()
    run(toolbox, f"{program} --version")  # compiles and caches what is the same for both
    project = {"languageId": "python", "pathToProject": "/tmp/bench/lsp"}
    document = {**project, "uri": "file:///tmp/bench/lsp/a.py"}
    query = "languageId=python&pathToProject=/tmp/bench/lsp&uri=file:///tmp/bench/lsp/a.py"
    times = []
    for _ in range(5):
        started = time.perf_counter()
        toolbox.request("POST", "/lsp/start", json.dumps(project).encode())
        toolbox.request("POST", "/lsp/did-open", json.dumps(document).encode())
        toolbox.request("GET", f"/lsp/document-symbols?{query}")
        times.append((time.perf_counter() - started) * 1000)
        toolbox.request("POST", "/lsp/stop", json.dumps(project).encode())
    results["pylsp, start to first answer"] = statistics.median(times)
    results["the same, spoken to by hand"] = python(toolbox, LSP_BY_HAND, program)


def pylsp(directory):
    """An archive of pylsp for a base that lacks it, for this machine's own Python, which sandboxes share."""
    archive = directory / "pylsp.tar"
    if not archive.exists():
        directory.mkdir(parents=True, exist_ok=True)
        install = [shutil.which("python3", path="/usr/bin:/bin") or "python3", "-m", "pip", "install", "--quiet"]
        install += ["--disable-pip-version-check", "--root-user-action=ignore", "--target", directory / "pylsp", "python-lsp-server==1.15.0"]
        subprocess.run(install, check=True)
        subprocess.run(["tar", "cf", archive, "-C", directory, "pylsp"], check=True)
    return archive.read_bytes()


def measure_desktop(toolbox, p50_ms, results):
    started = time.perf_counter()
    toolbox.request("POST", "/computeruse/start")
    results["desktop started"] = (time.perf_counter() - started) * 1000
    # Something to see: a terminal full of text would be the same for both.
    run(toolbox, "mkdir -p /tmp/bench; (setsid xterm -geometry 150x45+50+50 -e 'ls -la /usr/bin; sleep 1000' >/dev/null 2>&1 &)")
    time.sleep(2)
    results["screenshot of 1280×720"] = p50_ms(30, lambda: toolbox.request("GET", "/computeruse/screenshot"))
    small = "/computeruse/screenshot/compressed?format=jpeg&quality=80"
    results["compressed screenshot"] = p50_ms(30, lambda: toolbox.request("GET", small))
    grab = "ffmpeg -v error -y -f x11grab -video_size 1280x720 -i :0 -frames:v 1 /tmp/bench/shot.png"
    results["the same, ffmpeg by hand"] = python(toolbox, BY_HAND, *grab.split())
