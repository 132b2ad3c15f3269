// The web terminal's page. Keystrokes go out as binary frames; sizes and what was read as JSON objects in text frames;
// output comes in as text. Each connection has a shell of its own, and the close frame's reason says how it ended.
import { Terminal } from "./xterm.js";
import { FitAddon } from "./xterm-addon-fit.js";
import { Unicode11Addon } from "./xterm-addon-unicode11.js";

// xterm.js makes style sheets, and the page's policy admits only those that carry its nonce.
const { nonce } = document.querySelector("script[nonce]");
const createElement = document.createElement.bind(document);
document.createElement = (...args) => {
  const element = createElement(...args);
  if (element instanceof HTMLStyleElement) element.nonce = nonce;
  return element;
};

const terminal = new Terminal({
  allowProposedApi: true, // for the widths of Unicode 11
  cursorBlink: true,
  fontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  fontSize: 14,
  scrollback: 5000,
});
const fit = new FitAddon();
const unicode = new Unicode11Addon();
terminal.loadAddon(fit);
terminal.loadAddon(unicode);
terminal.unicode.activeVersion = "11";
terminal.open(document.getElementById("terminal"));

const LONGEST_WAIT = 8000;
const REPORT_EVERY = 64 * 1024;
const encoder = new TextEncoder();
const notice = document.getElementById("notice");

let socket;
let wait = 500;
let retry;
let over = false;
let ahead = [];

function say(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

function send(data) {
  if (socket.readyState === WebSocket.OPEN) socket.send(data);
}

// What is typed while the shell is on its way is for it, but not while a lost one is looked for.
function type(keys) {
  if (socket.readyState === WebSocket.CONNECTING && notice.hidden) ahead.push(keys);
  else send(keys);
}

function connect() {
  clearTimeout(retry);
  over = false;
  ahead = [];
  const url = new URL("ws" + location.search, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const mine = (socket = new WebSocket(url));
  let unreported = 0;
  mine.onopen = () => {
    wait = 500;
    if (!notice.hidden) terminal.write("\r\n\x1b[7m A new shell. \x1b[0m\r\n");
    say("");
    fit.fit();
    send(JSON.stringify({ rows: terminal.rows, cols: terminal.cols }));
    send(JSON.stringify({ read: 0 }));
    ahead.forEach(send);
    terminal.focus();
  };
  mine.onmessage = ({ data }) => {
    terminal.write(data, () => {
      unreported += data.length;
      if (unreported < REPORT_EVERY || mine !== socket) return;
      send(JSON.stringify({ read: unreported }));
      unreported = 0;
    });
  };
  mine.onclose = ({ code, reason }) => {
    if (mine === socket) terminal.write("", () => closed(code, reason));
  };
}

function closed(code, reason) {
  if (code === 1006) {
    say(`Connection lost. Trying again in ${wait / 1000} s…`);
    retry = setTimeout(connect, wait);
    wait = Math.min(wait * 2, LONGEST_WAIT);
    return;
  }
  over = true;
  terminal.write(`\x1b[0m\r\n\x1b[7m ${how(reason)} \x1b[0m Press Enter for a new shell.\r\n`);
}

function how(reason) {
  try {
    const { exitCode, exitReason } = JSON.parse(reason);
    return exitCode === 0 ? "Exited." : `Exited with ${exitCode} (${exitReason}).`;
  } catch {
    return `Closed: ${reason || "no reason given"}.`;
  }
}

terminal.onData((data) => {
  if (!over) return type(encoder.encode(data));
  if (data === "\r") {
    terminal.reset();
    connect();
  }
});
terminal.onBinary((data) => type(Uint8Array.from(data, (character) => character.charCodeAt(0))));
terminal.onResize(({ rows, cols }) => send(JSON.stringify({ rows, cols })));
terminal.onTitleChange((title) => (document.title = title));
new ResizeObserver(() => fit.fit()).observe(document.getElementById("terminal"));
addEventListener("online", () => socket.readyState === WebSocket.CLOSED && !over && connect());

connect();
