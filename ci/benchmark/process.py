"""What a running process costs: from its CPU clock, from /proc and, where it is installed, from strace."""

import ctypes
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Cost:
    """Means over a window; memory and threads at its end."""

    cpu_ms: float  # a second, user and kernel, all threads
    wakeups: float  # voluntary context switches a second
    rss_mib: float
    private_mib: float  # with the pages of its program, which no other process maps
    threads: int


def measure(pids, seconds):
    """The costs of several processes in one window, by the names in `pids`.

    Whole seconds hold as many rounds of one second, whatever their phase.
    """
    before = {name: (cpu_ms(pid), _wakeups(pid)) for name, pid in pids.items()}
    began = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - began
    costs = {}
    for name, pid in pids.items():
        cpu_before, wakeups = before[name]
        rss_mib, private_mib = memory_mib(pid)
        costs[name] = Cost(
            cpu_ms=(cpu_ms(pid) - cpu_before) / elapsed,
            wakeups=(_wakeups(pid) - wakeups) / elapsed,
            rss_mib=rss_mib,
            private_mib=private_mib,
            threads=len(_tasks(pid)),
        )
    return costs


def system_calls(pids, seconds, folder):
    """System calls a second of each process, and None; or None and why there are none.

    strace slows what it watches down, so this comes after `measure`.
    """
    if shutil.which("strace") is None:
        return None, "strace is not installed"
    tracers = {}
    try:
        for name, pid in pids.items():
            summary = folder / f"strace-{name}"
            arguments = ["strace", "-c", "-f", "-qq", "-o", summary, "-p", str(pid)]
            tracer = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            tracers[name] = tracer, summary
            while _number(f"/proc/{pid}/status", "TracerPid") != tracer.pid:
                if tracer.poll() is not None:
                    reason = tracer.stderr.read().decode(errors="replace").strip()
                    return None, reason or "strace failed"
                time.sleep(0.01)
        time.sleep(seconds)
    finally:
        for tracer, _ in tracers.values():
            if tracer.poll() is None:
                tracer.send_signal(signal.SIGINT)
        for tracer, _ in tracers.values():
            tracer.wait()
            tracer.stderr.close()
    return {
        name: sum(_counts(summary.read_text())) / seconds
        for name, (_, summary) in tracers.items()
    }, None


def _counts(summary):
    """The calls in the rows of a summary: % seconds usecs/call calls [errors] name."""
    for line in summary.splitlines():
        words = line.split()
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            yield int(words[3])


def cpu_ms(pid):
    """Since it started, user and kernel, all threads."""
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise ProcessLookupError(error, f"process {pid} has no CPU clock")
    return time.clock_gettime_ns(clock.value) / 1e6


def _wakeups(pid):
    return sum(_number(task / "status", "voluntary_ctxt_switches") for task in _tasks(pid))


def memory_mib(pid):
    """Resident, and private."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", rollup, re.M)}
    return kib["Rss"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024


def peak_mib(pid):
    """The most that was resident."""
    return _number(f"/proc/{pid}/status", "VmHWM") / 1024


def written_bytes(pid):
    """What it has made the system write to disks."""
    return _number(f"/proc/{pid}/io", "write_bytes")


def _tasks(pid):
    return list(Path(f"/proc/{pid}/task").iterdir())


def _number(file, name):
    return int(re.search(rf"^{name}:\s+(\d+)", Path(file).read_text(), re.M)[1])
