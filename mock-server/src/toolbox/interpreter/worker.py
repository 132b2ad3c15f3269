"""The process behind one interpreter context: runs code, one request after the other, and keeps its state.

It is executed by a line in `worker.rs`, which leaves `channel` (a SOCK_SEQPACKET socket on descriptor 0) and `path`
(sys.path as Python made it). `packets.rs` says what goes over the channel.
"""

import codecs
import io
import json
import os
import signal
import socket
import struct
import sys
import traceback
import types

PIECE = 32 << 10
LONGEST_PART = 1 << 20


class Worker:
    def __init__(self, channel):
        # Not inherited by what user code starts; descriptor 0 becomes what 1 and 2 are already.
        self.channel = socket.socket(fileno=os.dup(channel.detach()))
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.close(null)
        self.pid = os.getpid()
        self.number = 0
        self.running = False
        self.pieces = []
        self.main = types.ModuleType("__main__")
        sys.modules["__main__"] = self.main
        sys.argv = [""]
        self.stdout = self.stderr = sys.stdout = sys.stderr = None
        self.open_streams()

    def serve(self):
        while True:
            try:
                request = self.receive()
            except BaseException:
                # A signal handler that user code left behind.
                continue
            outcome = b"interrupted"
            try:
                outcome = self.execute(request)
            except BaseException:
                # The interrupt came while an exception was being described.
                pass
            self.ignore_interrupts()
            self.finish(request, outcome)

    def receive(self):
        while True:
            packet = self.channel.recv(PIECE * 2)
            if not packet:
                os._exit(0)
            self.pieces.append(packet[1:])
            if packet[:1] == b"R":
                pieces, self.pieces = self.pieces, []
                return json.loads(b"".join(pieces))

    def send(self, kind, payload=b""):
        head = struct.pack("!I", self.number) + kind
        for at in range(0, max(len(payload), 1), PIECE):
            try:
                self.channel.send(head + payload[at : at + PIECE])
            except OSError:
                # Nobody listens any more.
                os._exit(1)

    def execute(self, request):
        self.open_streams()
        self.number = request["number"]
        self.saved = {name: os.environ.get(name) for name in request["envs"]}
        try:
            self.running = True
            os.environ.update(request["envs"])
            signal.signal(signal.SIGINT, signal.default_int_handler)
            exec(compile(request["code"], "<stdin>", "exec", dont_inherit=True), self.main.__dict__)
        except KeyboardInterrupt:
            return b"interrupted"
        except SystemExit as error:
            if os.getpid() != self.pid:
                self.leave(error.code if isinstance(error.code, int) else error.code is not None)
            if error.code not in (None, 0):
                self.report(error)
        except BaseException as error:
            if os.getpid() != self.pid:
                traceback.print_exception(type(error), error, user_frames(error))
                self.leave(1)
            self.report(error)
        return b"completed"

    def ignore_interrupts(self):
        while True:
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                return
            except KeyboardInterrupt:
                pass

    def finish(self, request, outcome):
        if os.getpid() != self.pid:
            self.leave(0)
        self.flush()
        self.running = False
        for name, value in self.saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.send(b"D", outcome)

    def leave(self, code):
        """The end of a child that user code forked: it must not serve requests."""
        self.flush()
        os._exit(int(code or 0) & 0xFF)

    def flush(self):
        # What user code put in their place comes first: it may write to ours.
        for stream in (getattr(sys, "stdout", None), getattr(sys, "stderr", None), self.stdout, self.stderr):
            try:
                stream.flush()
            except BaseException:
                # Closed, or no stream at all.
                pass

    def report(self, error):
        parts = {b"N": type(error).__name__, b"V": error_text(error), b"T": trace(error)}
        for kind, text in parts.items():
            self.send(kind, str(text)[:LONGEST_PART].encode("utf-8", "daytona.replace"))
        self.send(b"X")

    def open_streams(self):
        """Opens what user code has closed or removed (`exit()` closes stdin)."""
        if is_closed(getattr(sys, "stdin", None)):
            sys.stdin = open(os.devnull)
        if is_closed(self.stdout):
            sys.__stdout__ = self.stdout = text_stream(Stream(self, b"O", "<stdout>"))
        if is_closed(self.stderr):
            sys.__stderr__ = self.stderr = text_stream(Stream(self, b"E", "<stderr>"))
        if is_closed(getattr(sys, "stdout", None)):
            sys.stdout = self.stdout
        if is_closed(getattr(sys, "stderr", None)):
            sys.stderr = self.stderr


class Stream(io.RawIOBase):
    """The bytes of sys.stdout or sys.stderr. What comes while nothing runs (from a thread) is nobody's."""

    mode = "w"

    def __init__(self, worker, kind, name):
        self.worker, self.kind, self.name = worker, kind, name

    def writable(self):
        return True

    def write(self, data):
        data = bytes(data)
        if data and self.worker.running:
            self.worker.send(self.kind, data)
        return len(data)


def text_stream(raw):
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="daytona.replace", line_buffering=True)
    # What may wait for its newline.
    stream._CHUNK_SIZE = 1024
    return stream


def is_closed(stream):
    return stream is None or getattr(stream, "closed", False)


def user_frames(error):
    """The traceback without this file's frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals is globals():
        frames = frames.tb_next
    return frames


def error_text(error):
    try:
        return str(error)
    except Exception:
        return "<exception str() failed>"


def trace(error):
    try:
        return "".join(traceback.format_exception(type(error), error, user_frames(error)))
    except Exception:
        return type(error).__name__ + "\n"


# Surrogates become U+FFFD; as bytes, since the encoder takes no other text than ASCII here.
codecs.register_error("daytona.replace", lambda error: (b"\xef\xbf\xbd" * (error.end - error.start), error.end))
worker = Worker(channel)
# Only now: files of the working directory must not stand in for modules that are needed here.
sys.path[:] = path
del path, channel
worker.serve()
