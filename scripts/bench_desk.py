"""Git, language servers and the desktop: the second half of scripts/bench, beside the same done by hand in the sandbox."""

import base64
import json
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

# Prints the milliseconds from the start of a language server to its first answer.
LSP_BY_HAND = """
import json, subprocess, time
started = time.perf_counter()
server = subprocess.Popen(["pylsp"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
def send(message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    server.stdin.write(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
    server.stdin.flush()
def receive(wanted):
    while True:
        length = 0
        while (line := server.stdout.readline().strip()):
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        message = json.loads(server.stdout.read(length))
        if message.get("id") == wanted:
            return message
uri = "file:///tmp/bench/lsp/a.py"
send({"id": 1, "method": "initialize", "params": {"processId": None, "rootUri": "file:///tmp/bench/lsp", "capabilities": {}}})
receive(1)
send({"method": "initialized", "params": {}})
text = open("/tmp/bench/lsp/a.py").read()
send({"method": "textDocument/didOpen", "params": {"textDocument": {"uri": uri, "languageId": "python", "version": 1, "text": text}}})
send({"id": 2, "method": "textDocument/documentSymbol", "params": {"textDocument": {"uri": uri}}})
receive(2)
print((time.perf_counter() - started) * 1000)
server.kill()
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


def measure_language_server(toolbox, results):
    run(toolbox, "mkdir -p /tmp/bench/lsp; echo 'class A: pass' > /tmp/bench/lsp/a.py; command -v pylsp")
    project = {"languageId": "python", "pathToProject": "/tmp/bench/lsp"}
    document = {**project, "uri": "file:///tmp/bench/lsp/a.py"}
    run(toolbox, "pylsp --version")  # compiles and caches what is the same for both
    started = time.perf_counter()
    toolbox.request("POST", "/lsp/start", json.dumps(project).encode())
    toolbox.request("POST", "/lsp/did-open", json.dumps(document).encode())
    query = "languageId=python&pathToProject=/tmp/bench/lsp&uri=file:///tmp/bench/lsp/a.py"
    toolbox.request("GET", f"/lsp/document-symbols?{query}")
    results["pylsp, start to first answer"] = (time.perf_counter() - started) * 1000
    results["the same, spoken to by hand"] = python(toolbox, LSP_BY_HAND)


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
