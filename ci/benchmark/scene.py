"""What `ci/bench` starts: builds, the collector, agents, floors. Nothing of it outlives the script."""

import http.server
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

SERVICES = {
    "LinuxCPU": "get_linux_cpu",
    "LinuxMemory": "get_memory_info",
    "LinuxNetwork": "GetNetworkStatus",
    "DiskIO": "get_disk_io",
    "LinuxLoad": "get_linux_load",
}

DEADLINE_S = 60


class Failed(Exception):
    """One sentence that says why nothing can be measured."""


@contextmanager
def started(arguments, **options):
    """A process, which is ended with all of its group."""
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, env=_environment(), start_new_session=True, **options
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def cargo(*arguments):
    """Builds, and gives the executables by the names of their targets."""
    command = ["cargo", *arguments, "--locked", "--message-format=json-render-diagnostics"]
    with started(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise Failed(f"`{' '.join(command)}` failed")
    messages = map(json.loads, output.splitlines())
    return {it["target"]["name"]: Path(it["executable"]) for it in messages if it.get("executable")}


def copied(executable, folder, name):
    """Its own copy for each process: they share no pages, and the next build replaces none."""
    return Path(shutil.copy2(executable, folder / name))


@contextmanager
def collector(executable, folder, clients):
    """The collector on a free port, which it gives; `clients` maps ids to services and intervals."""
    with collector_process(executable, folder, clients) as (_, port):
        yield port


@contextmanager
def collector_process(executable, folder, clients):
    """The same with its process, which may be ended within."""
    lines = ['listen = "127.0.0.1:0"', 'database = "reports.db"']
    for client, services in clients.items():
        lines += [f"[templates.t{client}.services]"]
        lines += [f'{name} = ["{plugin}", {every_s}]' for name, (plugin, every_s) in services.items()]
        lines += [f"[hosts.h{client}]", f"id = {client}", f'templates = ["t{client}"]']
    settings = folder / "server.toml"
    settings.write_text("\n".join(lines) + "\n")
    with logged([executable, "serve", "--config", settings], folder) as (process, log):
        address = wait(process, log, lambda: after(log.read_text(), "http://127.0.0.1:"))
        yield process, int(address.rstrip("/\n"))


@contextmanager
def agent(executable, folder, client, port):
    """An agent that reports to the collector."""
    with logged([executable, "run", "--config", _agent_toml(folder, client, port)], folder) as (process, _):
        yield process


@contextmanager
def logged(arguments, folder):
    """A process and the file that has its output."""
    log = folder / f"{Path(arguments[0]).name}.log"
    with log.open("wb") as output:
        with started(arguments, stdout=output, stderr=output) as process:
            try:
                yield process, log
            except OSError:
                # What was asked of a process that has gone.
                if process.poll() is None:
                    raise
            if process.poll() not in (None, -signal.SIGKILL):
                raise Failed(f"{_name(process)} has ended ({process.returncode}) {_last_words(log)}")


def received(port, client, since_s):
    """How many valid reports of a client the collector has got since then."""
    count, after = 0, 0
    while True:
        query = f"client_id={client}&since={since_s}&after={after}&limit=1000"
        url = f"http://127.0.0.1:{port}/api/reports?{query}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url) as answer:
            page = json.load(answer)
        if not page["reports"]:
            return count
        count += sum(report["data"]["status"] == 0 for report in page["reports"])
        after = page["next"]


def stop(number, _):
    """Ends the script on a signal."""
    # A second signal must not disturb the end of what the first one ends.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def start_ms(executable, folder, repetitions, window_s):
    """From the start of an agent without any state to the acknowledgement of its first report: the median.

    A server of its own takes the time of the acknowledgement, which the collector does not tell.
    """
    acknowledged = threading.Event()
    at_s = []
    orders = {name: [plugin, window_s] for name, plugin in SERVICES.items()}

    def taken():
        at_s.append(time.monotonic())
        acknowledged.set()

    took_ms = []
    with _server(orders, taken, in_one_piece=True) as port:
        for repetition in range(repetitions):
            state = folder / f"start-{repetition}"
            state.mkdir()
            settings = _agent_toml(state, 1, port)
            acknowledged.clear()
            at_s.clear()
            began_s = time.monotonic()
            with logged([executable, "run", "--config", settings], state):
                if not acknowledged.wait(DEADLINE_S):
                    raise Failed("an agent has not reported within a minute")
            took_ms.append((at_s[0] - began_s) * 1000)
    return statistics.median(took_ms)


def two_pieces_rate(executable, folder, seconds):
    """Reports a second to a server that writes head and body of its answers apart, as Django's and Python's own do.

    There are more services than such a server can serve, so the rate is that of the two together.
    """
    at_s = []
    orders = {f"S{number}": ["host_alive_check", 0.1] for number in range(200)}
    state = folder / "two-pieces"
    state.mkdir()
    with _server(orders, lambda: at_s.append(time.monotonic()), in_one_piece=False) as port:
        with logged([executable, "run", "--config", _agent_toml(state, 1, port)], state) as (process, log):
            wait(process, log, lambda: at_s)
            began_s = time.monotonic()
            time.sleep(seconds)
            return sum(at >= began_s for at in at_s) / (time.monotonic() - began_s)


@contextmanager
def _server(orders, taken, in_one_piece):
    """A server of Python's own, whose port it gives; `taken` is called for each report that it has answered."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Unbuffered, and with Nagle's algorithm, head and body are written apart.
        wbufsize = -1 if in_one_piece else 0
        disable_nagle_algorithm = in_one_piece

        def do_GET(self):
            self.answer(json.dumps({"services": orders}).encode())

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(b"{}")
            taken()

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def _agent_toml(folder, client, port):
    settings = folder / f"agent-{client}.toml"
    settings.write_text(
        f'client_id = {client}\nstate_dir = "state-{client}"\nfirst_sample_spread_s = 0\n'
        f'[server]\nurl = "http://127.0.0.1:{port}"\n'
    )
    return settings


def _environment():
    """Without settings of somebody else's agent, and without a proxy for loopback."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("MOTE_")}
    return own | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def wait(process, log, attempt):
    """What `attempt` gives, once that is something."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := attempt():
            return found
        time.sleep(0.02)
    raise Failed(f"{_name(process)} does not start {_last_words(log)}")


def _name(process):
    return Path(process.args[0]).name


def _last_words(log):
    text = log.read_text(errors="replace").strip()
    return f"and said: {text[-1000:]}" if text else "and said nothing"


def after(text, before):
    """The rest of the line after `before`, once the line is whole."""
    _, _, rest = text.partition(before)
    line, newline, _ = rest.partition("\n")
    return line if newline else ""
