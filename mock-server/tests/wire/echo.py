# What tests run inside a sandbox to see what arrives there: python3 echo.py PORT
import hashlib, http.server, json, sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.headers.get("Upgrade"):
            return self.shout()
        if self.path.startswith("/redirect"):
            return self.answer(302, b"", Location="/elsewhere")
        if self.path.startswith("/trickle"):
            return self.trickle()
        seen = {"path": self.path, "peer": self.client_address[1], "headers": self.headers.items()}
        self.answer(200, json.dumps(seen).encode())

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        seen = {"method": self.command, "path": self.path, "headers": self.headers.items(), "size": left}
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.answer(418, json.dumps(seen).encode(), **{"X-Own": "1"})

    def do_HEAD(self):
        self.answer(418, b"")

    # The beginning of an answer, and no more until the client goes.
    def trickle(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        self.close_connection = True
        self.rfile.read(1)

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            digest.update(piece)
            left -= len(piece)
        self.answer(200, digest.hexdigest().encode())

    # A protocol of its own after the upgrade: everything comes back in capitals.
    def shout(self):
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n")
        self.close_connection = True
        while piece := self.rfile.read1(65536):
            self.wfile.write(piece.upper())
        self.wfile.write(b"BYE")

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
