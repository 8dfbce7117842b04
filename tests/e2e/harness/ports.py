"""Free ports on loopback, below the range that the kernel gives to outgoing connections."""

import random
import socket

_random = random.SystemRandom()
_given = set()


def _is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free(count=1):
    """The first of `count` consecutive free ports, given out once."""
    for _ in range(1000):
        base = _random.randrange(10_000, 32_000 - count)
        wanted = range(base, base + count)
        if _given.isdisjoint(wanted) and all(_is_free(port) for port in wanted):
            _given.update(wanted)
            return base
    raise AssertionError("no free ports")
