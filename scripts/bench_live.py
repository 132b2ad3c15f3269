"""The part of `bench` that measures live connections: sessions, terminals, previews."""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from urllib.parse import urlsplit

MIB = 1 << 20
PREVIEWED = 3000

# Speaks enough HTTP/1.1 for a preview, and echoes after an upgrade. Runs in the sandbox, and on the host to compare.
PREVIEWED_PROGRAM = """
import asyncio, sys

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            if b"upgrade: echo" in head.lower():
                writer.write(b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n")
                while data := await reader.read(65536):
                    writer.write(data)
                break
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


class WebSocket:
    """The client's side of a WebSocket, without what is not needed here."""

    def __init__(self, toolbox, path):
        host, port = toolbox.host.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"GET {toolbox.base}{path} HTTP/1.1\r\nHost: {toolbox.host}\r\nAuthorization: Bearer {toolbox.key}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        head, self.buffer = read_head(self.socket)
        if not head.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"no WebSocket: {head[:200]!r}")

    def send(self, payload):
        assert len(payload) < 126
        # A mask of zeros leaves the payload as it is.
        self.socket.sendall(bytes([0x82, 0x80 | len(payload)]) + bytes(4) + payload)

    def receive(self):
        """The payloads of all frames that have come, at least one."""
        payloads = []
        while not payloads:
            at, buffer = 0, self.buffer
            while len(buffer) >= at + 2:
                length, start = buffer[at + 1] & 127, at + 2
                if length >= 126:
                    wide = 2 if length == 126 else 8
                    start += wide
                    length = int.from_bytes(buffer[at + 2 : start], "big")
                if len(buffer) < start + length:
                    break
                if buffer[at] & 15 == 8:
                    raise ConnectionError(f"closed: {buffer[start : start + length]!r}")
                payloads.append(buffer[start : start + length])
                at = start + length
            self.buffer = buffer[at:]
            if not payloads:
                data = self.socket.recv(MIB)
                if not data:
                    raise ConnectionError("the WebSocket ended")
                self.buffer += data
        return payloads

    def receive_until(self, wanted):
        """Everything up to a message that contains `wanted`; how many bytes that was."""
        count, tail = 0, b""
        while wanted not in tail:
            data = b"".join(self.receive())
            count += len(data)
            tail = (tail + data)[-max(len(data), 256) :]
        return count

    def close(self):
        self.socket.close()


def read_head(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = stream.recv(65536)
        if not chunk:
            raise ConnectionError("closed before an answer")
        data += chunk
    head, rest = data.split(b"\r\n\r\n", 1)
    return head, rest


def p50_ms(count, run):
    for _ in range(5):
        run()
    times = []
    for _ in range(count):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def measure_sessions(toolbox, results):
    toolbox.request("POST", "/process/session", b'{"sessionId":"bench"}')
    execute = b'{"command":"true","runAsync":false}'
    path = "/process/session/bench/exec"
    results["session exec"] = p50_ms(200, lambda: toolbox.request("POST", path, execute))
    toolbox.request("DELETE", "/process/session/bench")


def terminal(toolbox, name):
    """A terminal whose shell waits for input."""
    body = {"id": name, "cols": 80, "rows": 24, "envs": {"PS1": "$ "}}
    toolbox.json("POST", "/process/pty", body)
    pty = WebSocket(toolbox, f"/process/pty/{name}/connect")
    pty.send(b"echo rea''dy\n")
    pty.receive_until(b"ready\r\n")
    return pty


def cat(pty):
    """From now on the terminal answers each line with the same line."""
    pty.send(b"stty -echo; echo rea''dy; exec cat\n")
    pty.receive_until(b"ready\r\n")


def echo(pty, text):
    pty.send(text + b"\n")
    pty.receive_until(text)


def measure_terminals(toolbox, results):
    pty = terminal(toolbox, "echo")
    cat(pty)
    results["PTY echo"] = p50_ms(500, lambda: echo(pty, b"<hello>"))
    pty.close()
    toolbox.request("DELETE", "/process/pty/echo")

    pty, rates = terminal(toolbox, "flood"), []
    for round in range(3):
        started = time.perf_counter()
        pty.send(b"head -c 67108864 /dev/zero | tr '\\0' y; echo; echo D''ONE%d\n" % round)
        count = pty.receive_until(b"DONE%d\r\n" % round)
        rates.append(count / MIB / (time.perf_counter() - started))
    results["PTY output"] = statistics.median(rates)
    pty.close()
    toolbox.request("DELETE", "/process/pty/flood")


def measure_many_terminals(toolbox, results, count=200):
    started = time.perf_counter()
    ptys = [terminal(toolbox, f"many-{n}") for n in range(count)]
    results["200 PTYs opened and answered"] = (time.perf_counter() - started) * 1000
    for pty in ptys:
        cat(pty)
    started = time.perf_counter()
    for n, pty in enumerate(ptys):
        pty.send(b"<%d>\n" % n)
    for n, pty in enumerate(ptys):
        pty.receive_until(b"<%d>" % n)
    results["200 PTYs, a line through each"] = (time.perf_counter() - started) * 1000
    for n, pty in enumerate(ptys):
        pty.close()
        toolbox.request("DELETE", f"/process/pty/many-{n}")


def connect_and_first_byte(address, host, key):
    with socket.create_connection(address) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nx-daytona-preview-token: {key}\r\n\r\n".encode())
        head, _ = read_head(stream)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"preview: {head[:200]!r}")


def upgraded(address, host, token):
    stream = socket.create_connection(address)
    stream.sendall(
        f"GET / HTTP/1.1\r\nHost: {host}\r\nx-daytona-preview-token: {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: echo\r\n\r\n".encode()
    )
    head, _ = read_head(stream)
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"preview: {head[:200]!r}")
    return stream


def measure_previews(server, sandbox_id, toolbox, results, count=1000):
    toolbox.request("POST", "/process/session", b'{"sessionId":"previewed"}')
    program = PREVIEWED_PROGRAM.replace("'", '"')
    command = f"exec python3 -c '{program}' {PREVIEWED}"
    start = {"command": command, "runAsync": True}
    toolbox.json("POST", "/process/session/previewed/exec", start)
    preview = server.client().json("GET", f"/sandbox/{sandbox_id}/ports/{PREVIEWED}/preview-url")
    parts, token = urlsplit(preview["url"]), preview["token"]
    # A name below localhost, or a port of the loopback where such names don't resolve: both are this machine.
    host, address = parts.netloc, ("127.0.0.1", parts.port)
    wait_for(lambda: connect_and_first_byte(address, host, token))

    direct = subprocess.Popen([sys.executable, "-c", PREVIEWED_PROGRAM, "0"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(direct.stdout.readline())
        here, there = [], []
        # Turn by turn, so that both see the same machine.
        for _ in range(10):
            here.append(p50_ms(50, lambda: connect_and_first_byte(("127.0.0.1", port), "localhost", "")))
            there.append(p50_ms(50, lambda: connect_and_first_byte(address, host, token)))
    finally:
        direct.kill()
        direct.wait()
    results["preview connect + first byte"] = statistics.median(there)
    results["the same, direct on loopback"] = statistics.median(here)

    started = time.perf_counter()
    streams = [upgraded(address, host, token) for _ in range(count)]
    for n, stream in enumerate(streams):
        stream.sendall(b"%04d" % n)
    for n, stream in enumerate(streams):
        if stream.recv(4) != b"%04d" % n:
            raise RuntimeError("a preview connection answered something else")
    results["1,000 preview connections, each echoes"] = (time.perf_counter() - started) * 1000
    results["server with these open, RSS"] = rss_mib(server.process.pid)
    for stream in streams:
        stream.close()


def wait_for(attempt):
    deadline = time.monotonic() + 10
    while True:
        try:
            return attempt()
        except (RuntimeError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024
