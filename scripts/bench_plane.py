"""The part of `bench` that measures the control plane: snapshots, forks, archives, long lists, webhooks."""

import http.server
import json
import statistics
import threading
import time
from urllib.parse import quote

# 10,000 small files in 100 directories.
TREE = (
    "mkdir -p {0}; cd {0}; for i in $(seq 1 100); do mkdir -p d$i; "
    "for j in $(seq 1 100); do echo some text $i $j > d$i/f$j.txt; done; done"
)
MACHINE = "daytona-vm-small"


def until(client, path, states, patience=120):
    """The record once it is in one of these states."""
    deadline = time.monotonic() + patience
    while True:
        record = client.json("GET", path)
        if record["state"] in states:
            return record
        if time.monotonic() > deadline:
            raise RuntimeError(f"{path} stays {record['state']}: {record.get('errorReason')}")
        time.sleep(0.001)


def timed(results, name, work):
    """Milliseconds, the median of three."""
    results[name] = statistics.median(work(n) for n in range(3))


def since(started):
    return (time.perf_counter() - started) * 1000


def fill(toolbox, directory):
    toolbox.json("POST", "/process/execute", {"command": f"sh -c '{TREE.format(directory)}'"})


def measure_files(server, connect, results):
    """`connect` makes a connection to a sandbox's toolbox."""
    client = server.client()

    def make(**body):
        sandbox = client.json("POST", "/sandbox", body)
        return until(client, f"/sandbox/{sandbox['id']}", ["started"])

    sandbox = make()
    path = f"/sandbox/{sandbox['id']}"

    def stopped_with_files(n):
        if n:
            client.json("POST", f"{path}/start")
            until(client, path, ["started"])
        fill(connect(sandbox), f"/home/daytona/tree{n}")
        client.json("POST", f"{path}/stop")
        until(client, path, ["stopped"])

    def snapshot(n):
        stopped_with_files(n)
        started = time.perf_counter()
        client.json("POST", f"{path}/snapshot", {"name": f"bench-{n}"})
        until(client, path, ["stopped"])
        took = since(started)
        until(client, f"/snapshots/bench-{n}", ["active"])
        return took

    timed(results, "snapshot of a stopped one, 10,000 files", snapshot)
    client.request("DELETE", path)
    for n in range(3):
        made = client.json("GET", f"/snapshots/bench-{n}")
        client.request("DELETE", f"/snapshots/{made['id']}")

    sandbox = make()
    path = f"/sandbox/{sandbox['id']}"
    back = []

    def archive(n):
        stopped_with_files(n)
        started = time.perf_counter()
        client.json("POST", f"{path}/archive")
        until(client, path, ["archived"])
        took, started = since(started), time.perf_counter()
        client.json("POST", f"{path}/start")
        until(client, path, ["started"])
        back.append(since(started))
        client.json("POST", f"{path}/stop")
        until(client, path, ["stopped"])
        return took

    # Each time over 10,000 files more.
    results["archive of 10,000 files"] = archive(0)
    results["the same restored and started"] = back[0]
    client.request("DELETE", path)

    machine = make(snapshot=MACHINE)
    fill(connect(machine), "/home/daytona/tree")
    forks = []

    def fork(n):
        started = time.perf_counter()
        made = client.json("POST", f"/sandbox/{machine['id']}/fork", {"name": f"fork-{n}"})
        until(client, f"/sandbox/{made['id']}", ["started"])
        forks.append(made["id"])
        return since(started)

    timed(results, "fork of a running one, 10,000 files", fork)
    for one in [*forks, machine["id"]]:
        client.request("DELETE", f"/sandbox/{one}")


def measure_lists(server, p50_ms, results):
    """5,000 records of sandboxes whose builds can't begin: what is listed is the record, and nothing has to run for it."""
    client = server.client()
    for n in range(5_000):
        body = {"buildInfo": {"dockerfileContent": "x"}, "labels": {"team": str(n % 50), "kind": "bench"}}
        client.request("POST", "/sandbox", json.dumps(body).encode())
    # Without it, the list is the bare array of the oldest SDKs.
    client.headers = "X-Daytona-SDK-Version: 0.216.0\r\n"
    query = f"/sandbox?limit=100&labels={quote(json.dumps({'team': '7'}))}"
    if len(client.json("GET", query)["items"]) != 100:
        raise RuntimeError("the list has not 100 items")
    results["list of 5,000 by label, a page"] = p50_ms(30, lambda: client.request("GET", query))
    all_of_them = f"/sandbox?limit=100&labels={quote(json.dumps({'kind': 'bench'}))}&sort=name&order=asc"
    results["the same, a page of all, by name"] = p50_ms(30, lambda: client.request("GET", all_of_them))


def measure_webhooks(server, results):
    """From the moment a change is asked for until the receiver has read all of the message."""
    arrived = threading.Event()

    class Hook(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            arrived.set()
            self.send_response(204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    client = server.client()
    client.base = client.base.replace("/api", "/__control")
    url = f"http://127.0.0.1:{receiver.server_address[1]}/"
    client.json("POST", "/webhooks", {"url": url, "eventTypes": ["volume.created"]})
    client.base = client.base.replace("/__control", "/api")
    times = []
    for n in range(20):
        arrived.clear()
        started = time.perf_counter()
        made = client.json("POST", "/volumes", {"name": f"bench-{n}"})
        if not arrived.wait(10):
            raise RuntimeError("nobody told")
        times.append(since(started))
        until(client, f"/volumes/{made['id']}", ["ready"])
        client.request("DELETE", f"/volumes/{made['id']}")
    receiver.shutdown()
    results["webhook after a change"] = statistics.median(times)
