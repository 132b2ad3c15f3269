#!/usr/bin/env python3
"""A language server that does what it is told by the query of workspace/symbol."""
import json
import os
import sys
import time

seen = []
documents = {}


def read():
    length = 0
    while line := sys.stdin.buffer.readline().strip():
        name, value = line.split(b":")
        length = int(value) if name.lower() == b"content-length" else length
    return json.loads(sys.stdin.buffer.read(length)) if length else None


def send(**message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    sys.stdout.buffer.flush()


def raw(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def symbol(name):
    at = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
    return {"name": name, "kind": 13, "location": {"uri": "file:///x", "range": at}}


def workspace_symbol(message):
    query = message["params"]["query"]
    answer = lambda result: send(id=message["id"], result=result)
    if query == "log":
        answer([symbol(json.dumps(seen))])
    elif query == "argv":
        answer([symbol(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:], os.getcwd(), os.getpid()]))])
    elif query == "die":
        print("goodbye cruel world", file=sys.stderr, flush=True)
        os._exit(3)
    elif query == "refuse":
        send(id=message["id"], error={"code": -32000, "message": "no way"})
    elif query == "garbage":
        raw(b"hello\r\nworld\r\n\r\n")
    elif query == "huge":
        raw(b"Content-Length: 999999999999\r\n\r\n{}")
    elif query == "cut":
        raw(b"Content-Length: 50\r\n\r\n{")
        os._exit(0)
    elif query == "ask":
        send(id=77, method="workspace/configuration", params={"items": [{}, {}, {}]})
        configuration = read()
        send(id="s", method="no/such", params={})
        answer([symbol(json.dumps([configuration, read()]))])
    elif query == "nothing":
        answer(None)
    elif query == "deaf":
        print("x" * 10_000_000, file=sys.stderr)
        answer([])
        time.sleep(1000)
    elif query != "hang":
        answer([symbol(query)])


def main():
    while (message := read()) is not None:
        seen.append(message)
        method, params = message.get("method"), message.get("params")
        if method == "initialize":
            if os.path.exists("broken"):
                sys.exit("this project can't be loaded")
            send(method="window/logMessage", params={"type": 3, "message": "hello"})
            send(id=message["id"], result={"capabilities": {}})
        elif method == "textDocument/didOpen":
            documents[params["textDocument"]["uri"]] = params["textDocument"]["text"]
        elif method == "textDocument/didChange":
            documents[params["textDocument"]["uri"]] = params["contentChanges"][0]["text"]
        elif method == "textDocument/didClose":
            del documents[params["textDocument"]["uri"]]
        elif method == "textDocument/documentSymbol":
            text = documents.get(params["textDocument"]["uri"])
            at = symbol("")["location"]["range"]
            tree = text and [{"name": text, "kind": 5, "range": at, "children": [{"name": "child", "kind": 6, "range": at}]}]
            send(id=message["id"], result=tree)
        elif method == "textDocument/completion":
            send(id=message["id"], result={"isIncomplete": True, "items": [{"label": json.dumps(params), "kind": 1}]})
        elif method == "workspace/symbol":
            workspace_symbol(message)
        elif method == "shutdown":
            send(id=message["id"], result=None)
        elif method == "exit":
            open("exited", "w").close()
            return


main()
