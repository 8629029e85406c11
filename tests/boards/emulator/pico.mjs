// Runs an image of the Raspberry Pi Pico on a host. See README.md.

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { Board, readImage } from "./board.mjs";

const HELP = `Usage: node pico.mjs IMAGE.elf [--uart | --usb] [--real-time | --speed N | --fast | --lock-step] [--seconds N]

Runs the image; UART0 (or the serial port over USB) is standard input and output.

  --real-time   simulated time passes as real time does (the default)
  --speed N     simulated time passes N times as fast
  --fast        as fast as this machine can
  --lock-step   time passes when standard input says so, see README.md
  --unique-id H the unique id of the flash chip, 16 hexadecimal digits
  --seconds N   ends after N simulated seconds

Ends with standard input, or on TERM.
`;

const CHUNK_NANOS = 20e6;
const MAX_BACKLOG_BYTES = 4096;
// A host that stood still for longer does not make up for it: whoever talks to the board had no time either.
const MAX_LAG_NANOS = 250e6;
const MAX_PAUSE_MS = 100;

function main() {
  let options;
  try {
    options = parseArgs({
      allowPositionals: true,
      options: {
        uart: { type: "boolean" }, usb: { type: "boolean" },
        "real-time": { type: "boolean" }, fast: { type: "boolean" }, "lock-step": { type: "boolean" },
        "unique-id": { type: "string" }, seconds: { type: "string" }, speed: { type: "string" }, help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    return fail(error.message);
  }
  const { values, positionals } = options;
  if (values.help) return process.stdout.write(HELP);
  const seconds = values.seconds === undefined ? Infinity : Number(values.seconds);
  const speed = Number(values.speed ?? 1);
  if (positionals.length !== 1 || !(seconds > 0) || !(speed > 0)) {
    return fail("Name one image, and a time and a speed above 0.");
  }

  process.on("SIGTERM", () => process.exit(0));
  // Nobody listens any more.
  process.stdout.on("error", () => process.exit(0));
  const output = new Output();
  let board;
  try {
    board = new Board(readImage(positionals[0]), values.usb ? "usb" : "uart", output, values["unique-id"]);
  } catch (error) {
    return fail(error.message);
  }
  if (values["lock-step"]) return lockStep(board, output);
  process.stdin.on("end", () => process.exit(0));
  if (values.fast) return fast(board, output, seconds * 1e9);
  realTime(board, output, seconds * 1e9, speed);
}

// Collects what the board sends.
class Output {
  bytes = [];
  lines = [];
  resets = 0;

  onByte = (byte) => {
    this.bytes.push(byte);
    if (byte === 0x0a) this.lines.push(Buffer.from(this.bytes.splice(0)));
  };

  onReset = () => {
    this.resets += 1;
    process.stderr.write("The watchdog has reset the board.\n");
  };

  write() {
    for (const bytes of [...this.lines.splice(0), this.bytes.splice(0)]) {
      if (bytes.length > 0) process.stdout.write(Uint8Array.from(bytes));
    }
  }
}

function realTime(board, output, endNanos, speed) {
  const start = process.hrtime.bigint();
  let lostNanos = 0;
  let timer;
  const turn = () => {
    clearTimeout(timer);
    const passed = Number(process.hrtime.bigint() - start) * speed;
    lostNanos = Math.max(lostNanos, passed - board.nanos - MAX_LAG_NANOS * speed);
    const now = Math.min(passed - lostNanos, endNanos);
    // In pieces, so that input is seen while a slow host catches up.
    board.runUntil(Math.min(now, board.nanos + CHUNK_NANOS));
    listenAgain(board);
    output.write();
    if (board.nanos >= endNanos) return process.exit(0);
    const behind = now - board.nanos;
    const pauseMs = behind > 0 ? 0 : Math.min(Math.max(board.sleepNanos / 1e6 / speed, 1), MAX_PAUSE_MS);
    timer = setTimeout(turn, pauseMs);
  };
  listen(board, turn);
  turn();
}

function fast(board, output, endNanos) {
  listen(board, () => {});
  const turn = () => {
    board.runUntil(Math.min(board.nanos + CHUNK_NANOS, endNanos));
    listenAgain(board);
    output.write();
    if (board.nanos >= endNanos) process.exit(0);
    setImmediate(turn);
  };
  turn();
}

// Hands input to the board, as fast as the board takes it.
function listen(board, heard) {
  process.stdin.on("data", (bytes) => {
    board.send(bytes);
    if (board.backlog > MAX_BACKLOG_BYTES) process.stdin.pause();
    heard();
  });
}

function listenAgain(board) {
  if (process.stdin.isPaused() && board.backlog <= MAX_BACKLOG_BYTES) process.stdin.resume();
}

// One command a line, one answer a command.
function lockStep(board, output) {
  // A long run sees the end of its input only afterwards, and would take a core until then.
  const parent = process.ppid;
  let looks = 0;
  const endIfAbandoned = () => {
    if (++looks % 65536 === 0 && process.ppid !== parent) process.exit(0);
    return false;
  };
  const commands = {
    send: (text) => board.send(Buffer.from(text)),
    run_ms: (ms) => board.runUntil(board.nanos + ms * 1e6, () => endIfAbandoned() || output.lines.length > 0),
    celsius: (celsius) => board.setTemperature(celsius),
    sensor: ({ name, ...change }) => Object.assign(board.sensors[name], change),
    power: (ramKept) => board.power(ramKept ? board.chip.sram : undefined),
    hang: () => board.hang(),
    usb: (what) => ({
      plug: () => board.port.plug(),
      unplug: () => board.port.unplug(),
      open: () => board.port.open(true),
      close: () => board.port.open(false),
    })[what](),
  };
  createInterface({ input: process.stdin }).on("line", (line) => {
    for (const [name, argument] of Object.entries(JSON.parse(line))) commands[name](argument);
    const lines = output.lines.splice(0).map((bytes) => bytes.toString("latin1"));
    const answer = { ms: board.nanos / 1e6, lines, resets: output.resets, blinks: board.blinks.splice(0) };
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
}

function fail(message) {
  process.stderr.write(`${message}\n${HELP}`);
  process.exitCode = 64;
}

main();
