"""What the collector costs: `ci/benchmark/ingest` prints it beside a floor in C and other programs, `ci/bench` a part."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark import process, scene
from benchmark.bodies import NUMBERS, SERVICES, Bodies
from benchmark.scene import Failed

PARTS = Path(__file__).resolve().parent

MIB = 1 << 20

REPORTS = "/api/client/service/reports", "application/x-ndjson"
REPORT = "/api/client/service/report/", "application/json"


@dataclass(frozen=True)
class Size:
    """How much is played."""

    hosts: int
    steps: int  # ticks of five reports of each host
    history_hosts: int
    single_hosts: int


FULL = Size(hosts=1000, steps=40, history_hosts=330, single_hosts=2000)
QUICK = Size(hosts=1000, steps=3, history_hosts=20, single_hosts=400)

# A block has that many reports, so all of these are sealed.
HISTORY_STEPS = 240
HISTORY_LINES = 600


@dataclass(frozen=True)
class Row:
    """What one program cost in one way of sending."""

    cpu_us: float
    per_s: float
    p99_ms: float
    written: float
    on_disk: float | None = None
    peak_mib: float = 0


def run(collector, folder, size, others):
    """Measures and prints the table; gives the numbers that have budgets."""
    rows, measured = {}, {}
    player = compiled("player", folder)
    bodies = Bodies(folder, time.time() - HISTORY_STEPS)

    def play(name, target, path, file, connections, reports):
        return _play(player, target, path, file, connections, reports, name)

    hosts, late_hosts = range(1, size.hosts + 1), range(1, size.history_hosts + 1)
    tick_count, history_count = size.hosts * size.steps * 5, size.history_hosts * HISTORY_STEPS * 5
    ticks = bodies.reports("ticks", hosts, size.steps, 5)
    history = bodies.reports("history", late_hosts, HISTORY_STEPS, HISTORY_LINES)

    with mote(collector, folder / "ticks.d", hosts) as target:
        before_mib = process.memory_mib(target.pid)[0]
        rows["mote, ticks of five"] = play("ticks", target, REPORTS, ticks, 32, tick_count)
        # Open reports: all of what was played.
        grown = process.memory_mib(target.pid)[0] - before_mib
        measured["series"] = grown * MIB / (size.hosts * len(SERVICES) * NUMBERS)
        target.kill()
    measured["start_s"] = started_again_s(collector, folder / "ticks.d")
    ticks_row = rows["mote, ticks of five"]

    with mote(collector, folder / "history.d", hosts) as target:
        row = play("history", target, REPORTS, history, 8, history_count)
        on_disk, left = sealed_bytes(target, history_count)
        rows["mote, batches of 600"] = replace(row, on_disk=on_disk)
        if left:
            print(f"{left} reports were not sealed within a minute")
        more = range(size.history_hosts + 1, 2 * size.history_hosts + 1)
        again = bodies.reports("more", more, HISTORY_STEPS, HISTORY_LINES)
        with asking(target, late_hosts) as took:
            play("charts", target, REPORTS, again, 8, history_count)
        if not took:
            raise Failed("no chart was asked for while reports came")
        measured["chart"] = percentile(took, 99)
        print(f"{len(took)} charts were asked for meanwhile, median {percentile(took, 50):.1f} ms")

    single = bodies.reports("single", range(1, size.single_hosts // 2 + 1), 6, 1)
    with mote(collector, folder / "single.d", hosts) as target:
        row = play("single", target, REPORT, single, 128, size.single_hosts // 2 * 30)
        rows["mote, one by one"] = row
        measured["single_per_s"], measured["single_p99"] = row.per_s, row.p99_ms

    floor = compiled("intake_floor", folder)
    for name, file, connections, count, path in (
        ("C floor, ticks of five", ticks, 32, tick_count, REPORTS),
        ("C floor, batches of 600", history, 8, history_count, REPORTS),
        ("C floor, one by one", single, 128, size.single_hosts // 2 * 30, REPORT),
    ):
        with floor_server(floor, folder) as target:
            row = play(name, target, path, file, connections, count)
            rows[name] = replace(row, on_disk=target.data.stat().st_size / count)
            target.data.unlink()

    if others:
        tick_lines = bodies.line_protocol("ticks", hosts, size.steps, 5)
        history_lines = bodies.line_protocol("history", late_hosts, HISTORY_STEPS, HISTORY_LINES)
        for program, start in (("VictoriaMetrics", victoria_metrics), ("InfluxDB", influxdb)):
            for name, file, connections, count in (
                ("ticks of five", tick_lines, 32, tick_count),
                ("batches of 600", history_lines, 8, history_count),
            ):
                state = folder / f"{program}-{connections}"
                state.mkdir()
                with start(state) as target:
                    if target is None:
                        print(f"SKIPPED: {program} is not installed; ci/benchmark/ingest --help says what it needs")
                        break
                    row = play(name, target, ("/write?db=mote", "text/plain"), file, connections, count)
                    target.end()
                    on_disk = sum(it.stat().st_size for it in target.data.rglob("*") if it.is_file())
                    rows[f"{program}, {name}"] = replace(row, on_disk=on_disk / count)

    _print(rows)
    ours = rows["mote, batches of 600"]
    measured |= {
        "cpu": ours.cpu_us,
        "per_s": ours.per_s,
        "floor": ours.cpu_us / rows["C floor, batches of 600"].cpu_us,
        "written": ticks_row.written,
        "on_disk": ours.on_disk,
        "peak": max(row.peak_mib for name, row in rows.items() if name.startswith("mote")),
    }
    return measured


@dataclass
class Target:
    """A server that takes bodies."""

    process: subprocess.Popen
    port: int
    data: Path

    @property
    def pid(self):
        return self.process.pid

    def end(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def compiled(name, folder):
    program = folder / name
    with scene.started(["cc", "-O2", "-o", program, PARTS / f"{name}.c"]) as compiler:
        if compiler.wait():
            raise Failed(f"ci/benchmark/{name}.c does not compile")
    return program


@contextmanager
def mote(executable, folder, hosts):
    """A collector with these hosts and a new database."""
    folder.mkdir(exist_ok=True)
    clients = {host: {name: ("host_alive_check", 1) for name in SERVICES} for host in hosts}
    with scene.collector_process(executable, folder, clients) as (running, port):
        yield Target(running, port, folder / "reports.db")


@contextmanager
def floor_server(program, folder):
    data = folder / "floor.lines"
    with scene.logged([program, data], folder) as (running, log):
        port = scene.wait(running, log, lambda: scene.after(log.read_text(), "http://127.0.0.1:"))
        yield Target(running, int(port), data)


@contextmanager
def victoria_metrics(state):
    program = shutil.which("victoria-metrics")
    if program is None:
        yield None
        return
    port = _free_port()
    arguments = [program, f"-storageDataPath={state}/data", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=1"]
    with _other(arguments, state, port, "/health") as target:
        yield target


@contextmanager
def influxdb(state):
    program = shutil.which("influxd")
    if program is None:
        yield None
        return
    port, backup = _free_port(), _free_port()
    settings = state / "influxdb.conf"
    settings.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{backup}"\n'
        f'[meta]\ndir = "{state}/data/meta"\n[data]\ndir = "{state}/data/data"\nwal-dir = "{state}/data/wal"\n'
        f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
    )
    with _other([program, "-config", settings], state, port, "/ping") as target:
        query = urllib.request.Request(
            f"http://127.0.0.1:{port}/query", data=b"q=CREATE+DATABASE+mote", method="POST"
        )
        _open(query).close()
        yield target


@contextmanager
def _other(arguments, state, port, path):
    (state / "data").mkdir()

    def answers():
        try:
            with _open(f"http://127.0.0.1:{port}{path}"):
                return True
        except OSError:
            return False

    with scene.started(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 30
        while not answers():
            if running.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{Path(arguments[0]).name} does not answer at port {port}")
            time.sleep(0.05)
        yield Target(running, port, state / "data")


def started_again_s(executable, folder):
    """From the start of a collector that was killed to its first answer."""
    began = time.monotonic()
    settings = folder / "server.toml"
    with scene.logged([executable, "serve", "--config", settings], folder) as (running, log):
        port = scene.wait(running, log, lambda: scene.after(log.read_text(), "http://127.0.0.1:"))
        with _open(f"http://127.0.0.1:{port.rstrip('/')}/api/accounting?client_id=1") as answer:
            answer.read()
        return time.monotonic() - began


def sealed_bytes(target, reports):
    """What the history takes in the file, by report, and how many reports have none yet."""
    database = sqlite3.connect(f"file:{target.data}?mode=ro", uri=True)
    deadline = time.monotonic() + 60
    while True:
        (sealed,) = database.execute("SELECT coalesce(sum(reports), 0) FROM points").fetchone()
        if sealed >= reports or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    (pages,) = database.execute(
        "SELECT sum(pgsize) FROM dbstat WHERE name IN"
        " ('points', 'points_of_stream', 'partials', 'partials_of_stream', 'streams')"
    ).fetchone()
    database.close()
    return pages / max(sealed, 1), reports - sealed


@contextmanager
def asking(target, hosts):
    """Asks for one chart after another meanwhile; gives the list of how long each took, in ms."""
    took, is_over, fault = [], threading.Event(), []

    def ask():
        number = 0
        try:
            while not is_over.is_set():
                host, service = hosts[number * 7 % len(hosts)], SERVICES[number % len(SERVICES)]
                number += 1
                began = time.monotonic()
                with _open(
                    f"http://127.0.0.1:{target.port}/api/series?client_id={host}&service={service}"
                ) as answer:
                    answer.read()
                took.append((time.monotonic() - began) * 1000)
                time.sleep(0.01)
        except OSError as error:
            fault.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        is_over.set()
        thread.join()
    if fault:
        raise Failed(f"a chart was not answered: {fault[0]}")


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)]


def _play(player, target, how, file, connections, reports, name):
    path, kind = how
    cpu_ms, written = process.cpu_ms(target.pid), process.written_bytes(target.pid)
    arguments = [player, str(target.port), path, kind, file, str(connections)]
    with scene.started(arguments, stdout=subprocess.PIPE, text=True) as playing:
        output, _ = playing.communicate()
    if playing.returncode:
        raise Failed(f"the player of {name} has ended ({playing.returncode})")
    said = json.loads(output)
    if said["others"]:
        raise Failed(f"{said['others']} of {said['requests']} requests of {name} were refused")
    return Row(
        cpu_us=(process.cpu_ms(target.pid) - cpu_ms) * 1000 / reports,
        per_s=reports / said["seconds"],
        p99_ms=said["p99_ms"],
        written=(process.written_bytes(target.pid) - written) / reports,
        peak_mib=process.peak_mib(target.pid),
    )


def _print(rows):
    print(f"\n{'':32} CPU us  reports/s  p99 ms  written B  on disk B  peak MiB   (by report)")
    for name, row in rows.items():
        on_disk = f"{row.on_disk:9.1f}" if row.on_disk is not None else "        -"
        print(
            f"{name:32} {row.cpu_us:6.2f} {row.per_s:10.0f} {row.p99_ms:7.1f} {row.written:10.0f}"
            f" {on_disk:>10} {row.peak_mib:9.1f}"
        )
    print()


def _open(request):
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)
    except urllib.error.HTTPError as error:
        raise OSError(f"{error.code} {error.read(300)!r}") from error


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
