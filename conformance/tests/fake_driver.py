"""A driver with an SDK of its own, made of nothing but the standard library. It is right, or with --wrong MODE wrong in one
way: tests/sdk.rs proves with it that each scenario can pass and can fail. It is no example of how to write an SDK."""

import base64
import codecs
import hashlib
import http.client
import json
import os
import socket
import struct
import sys
import threading
import time
from urllib.parse import quote, urlencode, urlsplit

WRONG = sys.argv[sys.argv.index("--wrong") + 1] if "--wrong" in sys.argv else ""
CLASSES = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 408: "Timeout", 409: "Conflict",
    422: "Unprocessable", 429: "RateLimited", 500: "ServerError", 502: "BadGateway", 503: "Unavailable",
}  # fmt: skip
CODES = {"FILE_NOT_FOUND": "FileNotFound"}
MARKERS = {b"\1\1\1": "stdout", b"\2\2\2": "stderr"}


class Thrown(Exception):
    def __init__(self, cls, message, status=None, code=None, headers=None, sandbox=None):
        super().__init__(message)
        self.cls, self.status, self.code, self.headers, self.sandbox = cls, status, code, headers or {}, sandbox


class Unsupported(Exception):
    pass


_lock = threading.Lock()


def say(**line):
    with _lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


# --- HTTP ----------------------------------------------------------------------------------------------------------


class Call:
    """A request of the suite that is under way: what cancelling it closes."""

    def __init__(self, id):
        self.id, self.sockets, self.cancelled = id, [], threading.Event()

    def cancel(self):
        self.cancelled.set()
        if WRONG != "cancel-lazy":
            for sock in self.sockets:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def headers_of(client, *, without=()):
    all = {
        "Authorization": f"Bearer {client.key}",
        "User-Agent": "fake/1",
        "X-Daytona-Source": "fake",
        "X-Daytona-SDK-Version": "0.205.1",
    }
    if WRONG == "no-source":
        del all["X-Daytona-Source"]
    return {name: value for name, value in all.items() if name not in without}


def connect_to(url, timeout, call):
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    connection.connect()
    if call:
        call.sockets.append(connection.sock)
    return connection, parts.path + (f"?{parts.query}" if parts.query else "")


def error_of(status, headers, data):
    try:
        body = json.loads(data)
        message = body["message"]
    except (ValueError, KeyError, TypeError):
        if WRONG == "syntax-error":
            raise ValueError("Unexpected token < in JSON") from None
        body, message = {}, data.decode("utf-8", "replace")
    code = body.get("code")
    cls = CODES.get(code) if WRONG != "missing-file" else None
    return Thrown(cls or CLASSES.get(status, "Error"), str(message), status, code, {k.lower(): v for k, v in headers.items()})


def request(client, method, url, body=None, *, call=None, timeout=None, send=None, length=None, kind="application/json", into=None):
    """One request, with the retries that are safe."""
    tries = 1
    if method == "GET" and WRONG != "no-retry":
        tries = 2
    if WRONG == "retry-all":
        tries = 3
    for left in reversed(range(tries)):
        try:
            return once(client, method, url, body, call, timeout, send, length, kind, into)
        except Thrown as error:
            refused = error.status in (400, 403, 404, 409) and WRONG == "retry-refusals"
            again = error.status == 429 and WRONG == "retry-429" or refused and left == 0 and not getattr(client, "again", False)
            if again:
                client.again = True
                try:
                    return once(client, method, url, body, call, timeout, send, length, kind, into)
                finally:
                    client.again = False
            if left and error.cls == "Connection" and not (call and call.cancelled.is_set()):
                continue
            if left and WRONG == "retry-all" and (error.status or 0) >= 500:
                continue
            raise


def once(client, method, url, body, call, timeout, send, length, kind, into):
    try:
        connection, target = connect_to(url, timeout or client.timeout or 600, call)
        if WRONG == "key-in-url":
            target += ("&" if "?" in target else "?") + f"token={client.key}"
        connection.putrequest(method, target, skip_accept_encoding=True)
        headers = headers_of(client, without=["X-Daytona-SDK-Version"] if WRONG == "no-version" and "/api/sandbox?" in url else ())
        if body is not None:
            send = [json.dumps(body).encode()]
            length = len(send[0])
        if send is not None:
            headers |= {"Content-Type": kind, "Content-Length": str(length)}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        for piece in send or []:
            connection.send(piece)
        answer = connection.getresponse()
        data = pull(answer, into if answer.status < 400 else None)
        if answer.status >= 400:
            raise error_of(answer.status, dict(answer.getheaders()), data)
        return data
    except TimeoutError:
        raise timed_out(client) from None
    except (OSError, http.client.HTTPException) as error:
        if call and call.cancelled.is_set():
            raise Thrown("Cancelled", "the call was cancelled") from None
        raise connection_error(client, error) from None
    finally:
        if call and WRONG == "cancel-lazy" and call.cancelled.is_set():
            client.kept.append(connection)


def pull(answer, into):
    """The body: its bytes, or how many were written to a file."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    chunks, got, wanted = [], 0, answer.length
    slurp = WRONG == "slurp"
    while chunk := answer.read(1 << 27 if slurp else 1 << 16) if into or slurp else answer.read1(1 << 16):
        got += len(chunk)
        if into:
            into.write(chunk)
        elif WRONG == "decode-each":
            chunks.append(chunk.decode("utf-8", "replace").encode())
        else:
            chunks.append(chunk)
    decoder.reset()
    if wanted is not None and got < wanted and WRONG != "cut-ok":
        raise http.client.IncompleteRead(b"", wanted - got)
    return got if into else b"".join(chunks)


def timed_out(client):
    if WRONG == "timeout-words":
        return Thrown("Error", "it failed")
    return Thrown("Timeout", "the request timed out")


def connection_error(client, error):
    if WRONG == "connection-class":
        return Thrown("Error", str(error), 0)
    return Thrown("Connection", f"{type(error).__name__}: {error}")


def call_json(client, method, url, body=None, **more):
    data = request(client, method, url, body, **more)
    return json.loads(data) if data else None


# --- WebSockets ----------------------------------------------------------------------------------------------------


class Closed(Exception):
    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason}")
        self.code, self.reason = code, reason


class WebSocket:
    def __init__(self, client, url, protocols=(), call=None, timeout=600):
        try:
            self.connection, target = connect_to(url, timeout, call)
            headers = headers_of(client) | {
                "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            }  # fmt: skip
            if protocols:
                headers["Sec-WebSocket-Protocol"] = ", ".join(protocols)
            self.sock = self.connection.sock
            head = f"GET {target} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
            self.sock.sendall((head + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n").encode())
            # Held, as it closes the file when it goes.
            self.answer = answer = http.client.HTTPResponse(self.sock, method="GET")
            self.file = answer.fp
            answer.begin()
            if answer.status != 101:
                error = error_of(answer.status, dict(answer.getheaders()), answer.read())
                if WRONG == "socket-status":
                    error.status = None
                raise error
        except (OSError, http.client.HTTPException) as error:
            raise connection_error(client, error) from None
        self.write = threading.Lock()

    def send(self, payload, opcode):
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        with self.write:
            self.sock.sendall(head + mask + masked)

    def exactly(self, count):
        data = self.file.read(count)
        if data is None or len(data) < count:
            raise Closed(1006)
        return data

    def receive(self):
        """A whole message: (is it text, its fragments)."""
        text, fragments = False, []
        while True:
            try:
                first, second = self.exactly(2)
                size = second & 0x7F
                if size == 126:
                    size = struct.unpack(">H", self.exactly(2))[0]
                elif size == 127:
                    size = struct.unpack(">Q", self.exactly(8))[0]
                payload = self.exactly(size)
            except TimeoutError:
                raise
            except (OSError, ValueError):
                raise Closed(1006) from None
            opcode = first & 15
            if opcode == 8:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else 1005
                try:
                    self.send(payload[:2], 8)
                except OSError:
                    pass
                raise Closed(code, payload[2:].decode("utf-8", "replace"))
            if opcode == 9:
                self.send(payload, 10)
            elif opcode in (0, 1, 2):
                text = text or opcode == 1
                fragments.append(payload)
                if first & 0x80:
                    return text, fragments

    def close(self):
        try:
            self.send(struct.pack(">H", 1000), 8)
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.connection.close()


# --- events --------------------------------------------------------------------------------------------------------


class Events(threading.Thread):
    """Socket.IO by hand."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.over, self.connected = client, False, threading.Event()
        self.changed = threading.Condition()
        self.count, self.ws = 0, None
        self.start()

    def run(self):
        url = self.client.url + "/socket.io/?EIO=4&transport=websocket"
        while not self.over:
            try:
                self.ws = WebSocket(self.client, url)
                while True:
                    self.message(b"".join(self.ws.receive()[1]).decode())
            except (Closed, Thrown, OSError):
                self.connected.clear()
            if WRONG == "no-reconnect":
                return
            time.sleep(0.01 if WRONG == "storm" else 1)

    def message(self, text):
        if text.startswith("0"):
            self.ws.send(b"40" + json.dumps({"token": self.client.key}).encode(), 1)
        elif text == "2":
            self.ws.send(b"3", 1)
        elif text.startswith("40"):
            self.connected.set()
        elif text.startswith("42"):
            with self.changed:
                self.count += 1
                self.changed.notify_all()

    def wait(self, seconds):
        """Until something happens, at most so long."""
        if WRONG == "no-events-use":
            time.sleep(seconds)
            return
        with self.changed:
            self.changed.wait(seconds)

    def close(self):
        self.over = True
        if self.ws:
            self.ws.close()


# --- the SDK -------------------------------------------------------------------------------------------------------


class Client:
    def __init__(self, args):
        self.url, self.key, self.timeout = args["apiUrl"], args["apiKey"], args.get("requestTimeout")
        self.sandboxes, self.terminals, self.broken, self.kept = {}, {}, False, []
        polling = args.get("polling") and WRONG != "always-events"
        self.events = None if polling else Events(self)
        if WRONG == "open-config":
            connection, target = connect_to(self.url + "/config", 10, None)
            connection.request("GET", target, headers=headers_of(self, without=["Authorization"]))
            connection.getresponse().read()

    def api(self, method, path, body=None, **more):
        if self.broken:
            raise Thrown("Broken", "the client is broken")
        return call_json(self, method, self.url + path, body, **more)

    def box(self, path, args, method="GET", body=None, **more):
        if self.broken:
            raise Thrown("Broken", "the client is broken")
        return request(self, method, self.toolbox(args) + path, body, **more)

    def toolbox(self, args):
        id = args["sandbox"]
        if id not in self.sandboxes:
            self.sandboxes[id] = self.api("GET", f"/sandbox/{id}")
        return f"{self.sandboxes[id]['toolboxProxyUrl'].rstrip('/')}/{id}"

    def socket(self, path, args, protocols=(), call=None):
        return WebSocket(self, self.toolbox(args) + path, protocols, call)

    def look(self, id, deadline):
        left = None if deadline is None else max(0.05, deadline - time.monotonic())
        return self.api("GET", f"/sandbox/{id}", timeout=left)

    def wait(self, id, target, timeout, gone=False):
        """Until the sandbox is in that state."""
        deadline = time.monotonic() + timeout if timeout else None
        pause, late = (0.01, 0) if WRONG == "hasty" else (0.2, 0)
        if WRONG == "needs-events" and self.events and not self.events.connected.wait(0.5):
            raise Thrown("Error", "no connection for events")
        while True:
            if deadline is not None and time.monotonic() > deadline:
                if WRONG == "poll-on":
                    threading.Thread(target=lambda: [self.look(id, None) and time.sleep(0.2) for _ in range(40)], daemon=True).start()
                error = timed_out(self)
                error.sandbox = None if WRONG == "timeout-anonymous" else id
                raise error
            try:
                sandbox = self.look(id, deadline)
                state = sandbox["state"]
                if state == target:
                    self.sandboxes[id] = sandbox
                    return sandbox
                if state in ("error", "build_failed", "destroyed"):
                    if gone and state == "destroyed":
                        return None
                    if WRONG != "wait-on-error":
                        why = "" if WRONG == "no-reason" else sandbox.get("errorReason")
                        raise Thrown("Failed", f"the sandbox is in {state}: {why}")
                    late += 1
            except Thrown as error:
                if error.status == 404:
                    if gone:
                        return None
                    if WRONG != "wait-on-error":
                        raise
                    late += 1
                elif error.status is None or error.status < 500 or WRONG == "give-up":
                    raise
            if late > 60:
                raise Thrown("Failed", "at last")
            if self.events and self.events.connected.is_set() and WRONG != "hasty":
                self.events.wait(1)
            else:
                time.sleep(pause)


client = None
running = {}


def shown(sandbox):
    return {"sandbox": sandbox["id"], "name": sandbox["name"], "state": sandbox["state"]}


def hello(call, args):
    return {"protocol": 1, "sdk": "fake", "version": "1.0.0", "language": "python", "ops": list(OPS)}


def connect(call, args):
    global client
    client = Client(args)
    return {}


def close(call, args):
    global client
    if client and client.events:
        client.events.close()
    client = None
    return {}


def cancel(call, args):
    other = running.get(args["request"])
    if other:
        other.cancel()
        if WRONG == "cancel-lazy":
            say(id=other.id, error=tell(Thrown("Cancelled", "the call was cancelled")))
            other.silent = True
        if WRONG == "cancel-breaks":
            client.broken = True
    return {}


def slow(timeout):
    return timeout + 8 if timeout and WRONG == "late" else timeout


def create(call, args):
    body = {name: args[name] for name in ("name", "labels", "env") if name in args}
    body["labels"] = {"code-toolbox-language": "python"} | body.get("labels", {})
    if WRONG == "unknown-field":
        body["nme"] = "x"
    made = client.api("POST", "/sandbox", body)
    client.sandboxes[made["id"]] = made
    if made["state"] != "started":
        made = client.wait(made["id"], "started", slow(args.get("timeout", 60)))
    return shown(made) if WRONG != "stale" else shown(made | {"state": "creating"})


def get(call, args):
    found = client.api("GET", f"/sandbox/{args['sandbox']}")
    client.sandboxes[args["sandbox"]] = found
    return shown(found)


def list_(call, args):
    ids, cursor, first = [], None, True
    while first or cursor:
        query = {"limit": args.get("limit", 100)}
        if "labels" in args and WRONG != "no-labels":
            query["labels"] = json.dumps(args["labels"])
        if cursor:
            query["cursor"] = cursor
        try:
            page = client.api("GET", "/sandbox?" + urlencode(query))
        except Thrown:
            if first or WRONG != "swallow-pages":
                raise
            break
        items = page if isinstance(page, list) else page["items"]
        ids += [sandbox["id"] for sandbox in items]
        cursor, first = None if isinstance(page, list) else page.get("nextCursor"), False
        if WRONG == "first-page":
            break
    return {"sandboxes": ids}


def start(call, args):
    client.api("POST", f"/sandbox/{args['sandbox']}/start")
    return shown(client.wait(args["sandbox"], "started", slow(args.get("timeout", 60))))


def stop(call, args):
    client.api("POST", f"/sandbox/{args['sandbox']}/stop")
    return shown(client.wait(args["sandbox"], "stopped", args.get("timeout", 60)))


def delete(call, args):
    client.api("DELETE", f"/sandbox/{args['sandbox']}")
    if args.get("wait") and WRONG != "delete-early":
        client.wait(args["sandbox"], "destroyed", args.get("timeout", 60), gone=True)
    if WRONG == "deprecated":
        client.api("GET", "/sandbox/paginated")
    return {}


def execute(call, args):
    body = {"command": args["command"]}
    timeout = slow(args.get("timeout"))
    if timeout:
        body["timeout"] = timeout
    ran = json.loads(client.box("/process/execute", args, "POST", body, call=call))
    return {"exitCode": ran["exitCode"], "output": ran["result"]}


def code_run(call, args):
    ran = json.loads(client.box("/process/code-run", args, "POST", {"code": args["code"], "language": "python"}))
    return {"exitCode": ran["exitCode"], "output": ran["result"]}


def interpreter_run(call, args):
    ws = client.socket("/process/interpreter/execute", args, call=call)
    ws.send(json.dumps({"code": args["code"]}).encode(), 1)
    result = {"stdout": "", "stderr": "", "error": None}
    try:
        while True:
            fragments = ws.receive()[1]
            if WRONG == "decode-each":
                text = "".join(fragment.decode("utf-8", "replace") for fragment in fragments)
            else:
                text = b"".join(fragments).decode()
            chunk = json.loads(text)
            if chunk["type"] in ("stdout", "stderr"):
                result[chunk["type"]] += chunk["text"]
            elif chunk["type"] == "control":
                return result
    except Closed as closed:
        if closed.code != 1000:
            raise Thrown("Connection", str(closed)) from None
        return result
    finally:
        ws.close()


def pieces(args):
    """The multipart body, its length, and its type."""
    boundary = hashlib.sha256(os.urandom(8)).hexdigest()
    path = args["path"]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files[0].path"\r\n\r\n{path}\r\n--{boundary}\r\n'
        f'Content-Disposition: form-data; name="files[0].file"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\n'
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    if "file" in args and WRONG != "slurp":
        size = os.stat(args["file"]).st_size

        def body():
            with open(args["file"], "rb") as file:
                while chunk := file.read(1 << 16):
                    yield chunk
    else:
        if "file" in args:
            with open(args["file"], "rb") as file:
                data = file.read()
        else:
            data = base64.b64decode(args["base64"])
        if WRONG == "bytes":
            data = data.replace(b"\r\n", b"\n")
        size = len(data)

        def body():
            yield data

    def all():
        yield head
        yield from body()
        yield tail

    return all(), len(head) + size + len(tail), f"multipart/form-data; boundary={boundary}"


def upload(call, args):
    send, length, kind = pieces(args)
    try:
        client.box("/files/bulk-upload", args, "POST", call=call, send=send, length=length, kind=kind)
    except Thrown as error:
        if WRONG == "upload-class":
            error.cls = "Error"
        raise
    return {}


def download(call, args):
    safe = "/%+?&# \"'" if WRONG == "raw-names" else "/"
    path = "/files/download?path=" + quote(args["path"], safe=safe).replace(" ", "%20" if WRONG != "raw-names" else "")
    more = {"timeout": slow(args.get("timeout")), "call": call}
    if "file" in args:
        with open(args["file"], "wb") as file:
            client.box(path, args, into=file, **more)
        return {}
    data = client.box(path, args, **more)
    if WRONG == "pad":
        data += b"\0"
    return {"bytes": len(data), "base64": base64.b64encode(data).decode()}


def session_create(call, args):
    client.box("/process/session", args, "POST", {"sessionId": args["session"]})
    return {}


def session_exec(call, args):
    body = {"command": args["command"], "runAsync": args["background"]}
    ran = json.loads(client.box(f"/process/session/{args['session']}/exec", args, "POST", body))
    return {"command": ran["cmdId"], "exitCode": ran.get("exitCode"), "stdout": ran.get("stdout") or "", "stderr": ran.get("stderr") or ""}


def log_path(args):
    return f"/process/session/{args['session']}/command/{args['command']}"


def session_logs(call, args):
    logs = json.loads(client.box(log_path(args) + "/logs", args))
    if WRONG == "mix":
        return {"stdout": logs["stdout"] + logs["stderr"], "stderr": ""}
    return {"stdout": logs["stdout"], "stderr": logs["stderr"]}


class Demux:
    """Takes messages apart into streams."""

    def __init__(self, id):
        errors = "strict" if WRONG == "strict-utf8" else "replace"
        self.decoders = {name: codecs.getincrementaldecoder("utf-8")(errors) for name in ("stdout", "stderr")}
        self.id, self.rest, self.stream, self.kept = id, b"", None, []

    def feed(self, data, last=False):
        if WRONG == "marker-per-message":
            for marker, name in MARKERS.items():
                if data.startswith(marker):
                    self.stream, data = name, data[3:]
            return self.emit(data, last)
        self.rest += data
        while True:
            found = [(self.rest.find(marker), marker) for marker in MARKERS]
            found = [(at, marker) for at, marker in found if at >= 0]
            if WRONG == "marker-inside" and found and min(found)[0] + 3 == len(self.rest):
                found = []
            if not found:
                break
            at, marker = min(found)
            self.emit(self.rest[:at])
            self.rest, self.stream = self.rest[at + 3 :], MARKERS[marker]
        keep = 0 if last else next((n for n in (2, 1) if self.rest[-n:] in (b"\1" * n, b"\2" * n)), 0)
        if WRONG == "marker-inside":
            keep = 0
        cut = len(self.rest) - keep
        self.emit(self.rest[:cut], last)
        self.rest = self.rest[cut:]

    def emit(self, data, last=False):
        if self.stream is None:
            return
        name = "stdout" if WRONG == "mix" else self.stream
        if WRONG == "strip-control":
            data = data.replace(b"\1", b"").replace(b"\2", b"")
        text = data.decode("utf-8", "replace") if WRONG == "decode-each" else self.decoders[self.stream].decode(data, last)
        if not text:
            return
        if WRONG == "at-end":
            self.kept.append((name, text))
        else:
            say(id=self.id, event=name, text=text)


def session_logs_follow(call, args):
    ws = client.socket(log_path(args) + "/logs?follow=true", args, call=call)
    demux, held = Demux(call.id), []
    try:
        while True:
            data = b"".join(ws.receive()[1])
            if WRONG == "last-message":
                held, data = [data], held[0] if held else b""
            demux.feed(data)
    except Closed as closed:
        if call.cancelled.is_set():
            raise Thrown("Cancelled", "the call was cancelled") from None
        demux.feed(b"", last=True)
        if WRONG == "never-ends":
            time.sleep(10)
        if closed.code not in (1000, 1005) and WRONG != "close-is-end":
            raise Thrown("Connection", str(closed)) from None
    finally:
        if WRONG != "cancel-lazy":
            ws.close()
    for name, text in demux.kept:
        say(id=call.id, event=name, text=text)
    return {}


def session_input(call, args):
    text = args["text"]
    if WRONG == "latin-input":
        text = text.encode("latin-1", "ignore").decode("latin-1")
    client.box(log_path(args) + "/input", args, "POST", {"data": text})
    return {}


def session_delete(call, args):
    client.box(f"/process/session/{args['session']}", args, "DELETE")
    return {}


class Terminal(threading.Thread):
    def __init__(self, ws, id, args):
        super().__init__(daemon=True)
        self.ws, self.id, self.args = ws, id, args
        self.ready, self.ended, self.waits = threading.Event(), threading.Event(), 0
        self.code, self.error = None, None
        self.start()

    def run(self):
        try:
            while True:
                text, fragments = self.ws.receive()
                data = b"".join(fragments)
                if text:
                    message = json.loads(data)
                    if message.get("type") == "control":
                        self.control(message)
                        continue
                if WRONG == "decode-pty":
                    data = data.decode("utf-8", "replace").encode()
                say(id=self.id, event="data", base64=base64.b64encode(data).decode())
        except Closed as closed:
            self.close(closed)
        self.ready.set()
        self.ended.set()

    def control(self, message):
        if message["status"] == "connected":
            self.ready.set()
        elif message["status"] == "exited":
            self.code, self.error = message.get("exitCode"), message.get("exitReason")
            self.ready.set()

    def close(self, closed):
        if self.code is None:
            try:
                reason = json.loads(closed.reason)
                self.code, self.error = reason.get("exitCode"), reason.get("exitReason")
            except ValueError:
                pass
        if self.code is None and closed.code == 1000:
            self.code = 0
        if self.code is None:
            self.error = None if WRONG == "break-silent" else str(closed)
            if WRONG == "break-zero":
                self.code = 0
            if WRONG == "break-hang":
                time.sleep(60)


def pty_open(call, args):
    query = {"id": args["pty"], "cols": args["cols"], "rows": args["rows"]}
    if WRONG == "size":
        query |= {"cols": 80, "rows": 24}
    if "cwd" in args:
        query["cwd"] = args["cwd"]
    protocols = ["X-Daytona-Pty-Exit-Control"]
    if "env" in args and WRONG != "no-env":
        envs = base64.urlsafe_b64encode(json.dumps(args["env"]).encode()).rstrip(b"=").decode()
        protocols.append(f"X-Daytona-Pty-Envs~{envs}")
    ws = client.socket("/process/pty/create-connect?" + urlencode(query), args, protocols)
    terminal = Terminal(ws, call.id, args)
    if not terminal.ready.wait(0.5 if WRONG == "hasty-connect" else 15):
        raise timed_out(client)
    client.terminals[args["pty"]] = terminal
    return {}


def terminal_of(args):
    if args["pty"] not in client.terminals:
        raise Unsupported(f"no terminal {args['pty']}")
    return client.terminals[args["pty"]]


def pty_input(call, args):
    terminal = terminal_of(args)
    if terminal.ended.is_set():
        if WRONG == "lost-input":
            return {}
        raise Thrown("Connection", "the terminal has ended")
    terminal.ws.send(args["text"].encode(), 2)
    return {}


def pty_resize(call, args):
    terminal = terminal_of(args)
    body = {"cols": args["cols"], "rows": args["rows"]}
    client.box(f"/process/pty/{args['pty']}/resize", terminal.args, "POST", body)
    return body


def pty_kill(call, args):
    client.box(f"/process/pty/{args['pty']}", terminal_of(args).args, "DELETE")
    return {}


def pty_wait(call, args):
    terminal = terminal_of(args)
    terminal.waits += 1
    if WRONG == "one-wait" and terminal.waits > 1:
        time.sleep(60)
    terminal.ended.wait()
    code = 0 if WRONG == "exit-zero" else terminal.code
    return {"exitCode": code, "error": terminal.error}


OPS = {
    "hello": hello, "connect": connect, "close": close, "cancel": cancel, "create": create, "get": get, "list": list_,
    "start": start, "stop": stop, "delete": delete, "execute": execute, "codeRun": code_run,
    "interpreter.run": interpreter_run, "upload": upload, "download": download, "session.create": session_create,
    "session.exec": session_exec, "session.logs": session_logs, "session.logs.follow": session_logs_follow,
    "session.input": session_input, "session.delete": session_delete, "pty.open": pty_open, "pty.input": pty_input,
    "pty.resize": pty_resize, "pty.kill": pty_kill, "pty.wait": pty_wait,
}  # fmt: skip


def tell(error):
    if not isinstance(error, Thrown):
        error = Thrown(type(error).__name__, str(error))
    told = {
        "class": error.cls, "classes": [error.cls, "Error"], "message": str(error), "status": error.status,
        "code": error.code, "headers": error.headers, "sandbox": error.sandbox, "text": repr(error),
    }  # fmt: skip
    if WRONG == "no-status":
        told["status"] = None
    if WRONG == "one-class":
        told["class"] = "Error"
    if WRONG == "message":
        told["message"] = "something went wrong"
    if WRONG == "no-headers":
        told["headers"] = {}
    if WRONG == "no-code":
        told["code"] = None
    if WRONG == "key-in-message" and client:
        told["text"] += f" while sending Authorization: Bearer {client.key}"
    return told


def serve(line):
    message = json.loads(line)
    call = Call(message["id"])
    call.silent = False
    running[call.id] = call
    try:
        value = OPS[message["op"]](call, message["args"])
        if not call.silent:
            say(id=call.id, ok=value)
    except Unsupported as why:
        say(id=call.id, unsupported=str(why))
    except Exception as error:
        if not call.silent:
            say(id=call.id, error=tell(error))
    finally:
        running.pop(call.id, None)


if __name__ == "__main__":
    if WRONG == "stay":
        threading.Thread(target=time.sleep, args=(60,)).start()
    for line in sys.stdin:
        threading.Thread(target=serve, args=(line,), daemon=True).start()
