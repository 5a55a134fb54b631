"""A network between two namespaces that delays, loses and cuts: what `tc netem` does, for kernels that lack it.

Each namespace has a TUN device; this process carries the packets from one to the other, as told by lines of JSON on
stdin: {"delay_s": 0.1, "loss": 0.1, "cut": false}, each way.
"""

import fcntl
import heapq
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # of linux/if_tun.h
LONGEST_PACKET = 65535  # bytes


def tun(name: str) -> int:
    """A new device; it is gone when its file is closed."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22s", name.encode(), IFF_TUN | IFF_NO_PI, b""))
    return device


def carry(devices: tuple[int, int], orders: int, *, seed: int) -> None:
    """Until there are no more orders; all three are open files; a device gives a packet a read."""
    chance = random.Random(seed)
    how = {"delay_s": 0.0, "loss": 0.0, "cut": False}
    under_way: list[tuple[float, int, int, bytes]] = []  # due, order, device, packet
    order = count()
    other = {devices[0]: devices[1], devices[1]: devices[0]}
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        ready, _, _ = select.select([*devices, orders], [], [], wait_s)
        if orders in ready:
            lines = os.read(orders, LONGEST_PACKET)  # each is written at once, so it is there whole
            if not lines:
                return
            for line in lines.splitlines():
                how |= json.loads(line)
        for device in ready:
            if device is not orders:
                with suppress(BlockingIOError):
                    packet = os.read(device, LONGEST_PACKET)
                    if not how["cut"] and chance.random() >= how["loss"]:
                        due_s = time.monotonic() + how["delay_s"]
                        heapq.heappush(under_way, (due_s, next(order), other[device], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, device, packet = heapq.heappop(under_way)
            with suppress(OSError):  # a device whose queue is full loses the packet, as a network does
                os.write(device, packet)


def main() -> None:
    """link.py NAMESPACE ADDRESS NAMESPACE ADDRESS: both devices are up when "ready" is printed."""
    ends = list(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    devices = []
    for namespace, address in ends:
        name = f"tun{os.getpid()}"[:15]
        devices.append(tun(name))
        for words in (
            ("link", "set", name, "netns", namespace),
            ("-n", namespace, "link", "set", "lo", "up"),
            ("-n", namespace, "addr", "add", f"{address}/24", "dev", name),
            ("-n", namespace, "link", "set", name, "up", "mtu", "1400"),
        ):
            subprocess.run(["ip", *words], check=True)
    print("ready", flush=True)
    carry((devices[0], devices[1]), sys.stdin.fileno(), seed=0)


if __name__ == "__main__":
    main()
