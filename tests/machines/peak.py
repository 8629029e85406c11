"""How deep the stack of an image has been, as it reports itself from QEMU while it does all there is to do."""

import json
import subprocess
import threading

from frames import opened, sealed

# As many services as a board takes, under names as long as it takes; and they change.
PLUGINS = ("get_mcu_load", "get_mcu_ram", "host_alive_check", "no_such_plugin")
ORDERS = [
    {"services": {f"a service of 23 bytes {i}": [PLUGINS[i % 4], interval] for i in range(8)}}
    for interval in (0.5, 0.7)
]
REFUSED = {"services": {"a": ["get_mcu_ram", 0]}}
END_S = 60

# Only ends a run that hangs.
DEADLINE_S = 300


def stack_peak(machine, image):
    """Bytes. The board gets orders, good and bad, and acknowledgements of some of what it sends."""
    command = ["qemu-system-arm", "-M", machine, "-kernel", str(image), "-nographic", "-monitor", "none"]
    command += ["-serial", "stdio", "-icount", "shift=3,sleep=off"]
    qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    timer = threading.Timer(DEADLINE_S, qemu.kill)
    timer.start()
    try:
        return _talk(qemu)
    finally:
        timer.cancel()
        qemu.kill()
        qemu.wait()


def _talk(qemu):
    def send(message):
        qemu.stdin.write(sealed(message))
        qemu.stdin.flush()

    peak = None
    reports = 0
    for line in qemu.stdout:
        message = opened(line)
        if message is None:
            continue
        if message.get("get") == "services":
            send(ORDERS[0])
        if "seq" not in message:
            continue
        reports += 1
        peak = message["data"].get("stack_peak", peak)
        if reports % 10 == 0:
            send((*ORDERS, REFUSED)[reports // 10 % 3])
        if reports % 3:
            send({"ack": message["seq"]})
        if message["uptime"] >= END_S and peak is not None:
            return peak
    raise SystemExit(f"the board stopped before it reported its stack ({json.dumps(peak)})")
