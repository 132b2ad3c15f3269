# What tests run inside a sandbox to open WebSockets to: python3 ws.py PORT
# /echo, /flood (until nobody takes it), /close (4001 after the first frame); anything else: what was asked, as JSON.
# A client's sub-protocol `two` is taken. What the last client closed with is in /tmp/closed, how many are connected
# in /tmp/open, how much of a flood was taken in /tmp/flooded.
import asyncio, base64, hashlib, json, struct, sys

count = 0


def note(name, value):
    with open(f"/tmp/{name}", "w") as file:
        file.write(str(value))


async def head(reader):
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = [line.split(": ", 1) for line in text[1:] if ": " in line]
    return text[0].split(" ")[1], {name.lower(): value for name, value in pairs}, pairs


async def frame(reader):
    first, second = await reader.readexactly(2)
    size = second & 127
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    return first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


def packed(opcode, data):
    size = len(data)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65536 else b"\x7f" + struct.pack(">Q", size)
    return bytes([128 | opcode]) + length + data


async def talk(path, reader, writer):
    if path.startswith("/flood"):
        sent, piece = 0, packed(2, bytes(60000))
        while True:
            writer.write(piece)
            await writer.drain()
            sent += 60000
            note("flooded", sent)
    while True:
        opcode, data = await frame(reader)
        if opcode == 8:
            note("closed", f"{int.from_bytes(data[:2], 'big')} {data[2:].decode()}")
            writer.write(packed(8, data))
            return
        if path.startswith("/close"):
            writer.write(packed(8, struct.pack(">H", 4001) + b"bye for now"))
            return
        writer.write(packed(10 if opcode == 9 else opcode, data))
        await writer.drain()


async def serve(reader, writer):
    global count
    try:
        path, headers, pairs = await head(reader)
        if "sec-websocket-key" not in headers:
            body = json.dumps({"path": path, "headers": pairs}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            return
        accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        two = b"Sec-WebSocket-Protocol: two\r\n" if "two" in headers.get("sec-websocket-protocol", "") else b""
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + two + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        if path.startswith("/seen"):
            writer.write(packed(1, json.dumps({"path": path, "headers": pairs}).encode()))
        count += 1
        note("open", count)
        try:
            await talk(path, reader, writer)
        finally:
            count -= 1
            note("open", count)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


asyncio.run(main())
