"""The bodies that `ci/benchmark/player.c` posts: reports as agents write them, and the same samples as lines of others.

Each service has a few courses of values, which hosts share at different phases: what a report holds was made once, so
that making a million of them takes a second or two.
"""

import random
import struct

SERVICES = ("LinuxCPU", "LinuxMemory", "LinuxNetwork", "DiskIO", "LinuxLoad")

# Numbers in a report, the mean over the services; `status` is one.
NUMBERS = (7 + 12 + 17 + 7 + 6) / 5

COURSES, STEPS = 16, 256


class Bodies:
    """Files of bodies for one run; `start_s` is when its first reports were sampled."""

    def __init__(self, folder, start_s):
        self._folder = folder
        self._start_ms = int(start_s * 1000)
        self._as_json, self._as_line = _courses(random.Random(7))

    def reports(self, name, hosts, steps, lines):
        """Each host reports its five services `steps` times, `lines` of these reports in a body."""

        def report(host, step, service):
            data = self._as_json[service][host % COURSES][(host + step) % STEPS]
            at_ms = self._at_ms(host, step)
            return (
                f'{{"client_id":{host},"service_name":"{SERVICES[service]}","data":{data},'
                f'"time":{at_ms // 1000}.{at_ms % 1000:03},"boot":"{name}","seq":{step * 5 + service}}}'
            )

        return self._write(f"{name}.reports", hosts, steps, lines, report)

    def line_protocol(self, name, hosts, steps, lines):
        """The same samples in InfluxDB's line protocol."""

        def lines_of(host, step, service):
            at = f" {self._at_ms(host, step)}000000"
            items = self._as_line[service][host % COURSES][(host + step) % STEPS]
            return "\n".join(item.replace("HOST", str(host)) + at for item in items)

        return self._write(f"{name}.lines", hosts, steps, lines, lines_of)

    def _at_ms(self, host, step):
        return self._start_ms + step * 1000 + host % 997

    def _write(self, name, hosts, steps, lines, text):
        path = self._folder / name
        together = lines // 5
        with path.open("wb") as file:
            # What a host sends at once is of one host; hosts take turns.
            for first in range(0, steps, max(together, 1)):
                for host in hosts:
                    ticks = range(first, min(first + max(together, 1), steps))
                    texts = [text(host, step, service) for step in ticks for service in range(5)]
                    bodies = ["\n".join(texts) + "\n"] if lines > 1 else texts
                    for body in bodies:
                        encoded = body.encode()
                        file.write(struct.pack("<I", len(encoded)))
                        file.write(encoded)
        return path


def _courses(dice):
    as_json, as_line = [], []
    for service, one in enumerate((_cpu, _memory, _network, _disk, _load)):
        texts, lines = [], []
        for _ in range(COURSES):
            course = list(one(dice))
            texts.append([_json(it) for it in course])
            lines.append([_lines(SERVICES[service], it) for it in course])
        as_json.append(texts)
        as_line.append(lines)
    return as_json, as_line


def _json(items):
    def numbers(fields):
        return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"

    if "" in items:
        return '{"status":0,' + numbers(items[""])[1:]
    inner = ",".join(f'"{item}":{numbers(fields)}' for item, fields in items.items())
    return f'{{"status":0,"data":{{{inner}}}}}'


def _lines(service, items):
    lines = []
    for item, fields in items.items():
        tag = f",item={item}" if item else ""
        status = {} if lines else {"status": 0}
        values = ",".join(f"{name}={value}" for name, value in (status | fields).items())
        lines.append(f"{service},host=HOST{tag} {values}")
    return lines


def _walk(dice, value, step, least=0.0, most=float("inf")):
    while True:
        value = min(max(value + dice.gauss(0, step), least), most)
        yield value


def _cpu(dice):
    busy = _walk(dice, 20, 4, 1, 95)
    for _ in range(STEPS):
        user = round(next(busy), 2)
        system = round(user / 4 + dice.random(), 2)
        wait = round(max(dice.gauss(0, 0.4), 0), 2)
        idle = round(max(100 - user - system - wait, 0), 2)
        yield {"": {"user": user, "nice": 0.0, "system": system, "iowait": wait, "steal": 0.0, "idle": idle}}


def _memory(dice):
    used, cached = _walk(dice, 3e6, 4000, 1e6, 2e7), _walk(dice, 1.2e7, 2000, 1e6, 2e7)
    total = 24_684_096
    for _ in range(STEPS):
        use, cache = int(next(used)), int(next(cached))
        free = max(total - use - cache, 0)
        yield {
            "": {
                "MemTotal": total, "MemFree": free, "MemAvailable": total - use, "Buffers": 46_184, "Cached": cache,
                "SwapTotal": 0, "SwapFree": 0, "MemUsage": use, "SwapUsage": 0,
                "MemUsage_p": round(use / total * 100, 2), "SwapUsage_p": 0.0,
            }
        }  # fmt: skip


def _network(dice):
    rates = {item: _walk(dice, rate, rate / 8) for item, rate in (("lo", 2000), ("eth0", 90_000))}
    for _ in range(STEPS):
        items = {}
        for item, walk in rates.items():
            rate = next(walk)
            into, out = round(rate, 2), round(rate * (0.8 + dice.random() / 4), 2)
            items[item] = {
                "t_in": into, "t_out": out, "packets_in": round(into / 700, 2), "packets_out": round(out / 900, 2),
                "errors_in": 0.0, "errors_out": 0.0, "drops_in": 0.0, "drops_out": 0.0,
            }  # fmt: skip
        yield items


def _disk(dice):
    written = _walk(dice, 200_000, 50_000)
    for _ in range(STEPS):
        rate = round(next(written) / 4096) * 4096.0
        busy = round(rate / 2e6 * dice.random(), 2)
        yield {
            "vda": {
                "read_bytes": 0.0, "written_bytes": rate, "reads": 0.0, "writes": round(rate / 16_384, 2),
                "busy_p": busy, "queue": round(busy / 100, 2),
            }
        }  # fmt: skip


def _load(dice):
    load = _walk(dice, 1, 0.2)
    one, five, fifteen = 1.0, 1.0, 1.0
    for _ in range(STEPS):
        one = one * 0.9 + next(load) * 0.1
        five, fifteen = five * 0.98 + one * 0.02, fifteen * 0.99 + one * 0.01
        yield {
            "": {
                "load1": round(one, 2), "load5": round(five, 2), "load15": round(fifteen, 2),
                "running": dice.randrange(1, 6), "total": 168 + dice.randrange(8),
            }
        }  # fmt: skip
