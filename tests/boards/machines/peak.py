"""How deep the stack of an image has been, as it reports itself from an emulator while it does all there is to do."""

import json
import subprocess
import threading
from pathlib import Path

from frames import opened, sealed

# As many services as a board takes, under names as long as it takes; and they change.
PLUGINS = ("get_mcu_load", "get_mcu_ram", "host_alive_check", "no_such_plugin")
ORDERS = [
    {"services": {f"a service of 23 bytes {i}": [PLUGINS[i % 4], interval] for i in range(8)}}
    for interval in (0.5, 0.7)
]
REFUSED = {"services": {"a": ["get_mcu_ram", 0]}}
END_S = 60

EMULATOR = Path(__file__).resolve().parent.parent / "emulator" / "pico.mjs"

# Only ends a run that hangs.
DEADLINE_S = 300


def stack_peak(machine, image):
    """Bytes. The board gets orders, good and bad, and acknowledgements of some of what it sends."""
    board = subprocess.Popen(
        _command(machine, image), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    timer = threading.Timer(DEADLINE_S, board.kill)
    timer.start()
    try:
        return _talk(board)
    finally:
        timer.cancel()
        board.kill()
        board.wait()


def _command(machine, image):
    if machine == "pico":
        return ["node", str(EMULATOR), "--fast", str(image)]
    command = ["qemu-system-riscv32", "-bios", "none"] if machine == "virt" else ["qemu-system-arm"]
    command += ["-M", machine, "-kernel", str(image), "-nographic", "-monitor", "none"]
    command += ["-serial", "stdio", "-icount", "shift=3,sleep=off"]
    # Firmware that takes arguments gets none.
    return command + ["-semihosting-config", "enable=on,target=native,arg="]


def _talk(board):
    def send(message):
        board.stdin.write(sealed(message))
        board.stdin.flush()

    peak = None
    reports = 0
    for line in board.stdout:
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
