"""Waiting for something to become true, always with a bound."""

import time


def until(probe, seconds=15.0, what="the condition", every=0.02):
    """Calls `probe` until it returns something true and returns that; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        last = probe()
        if last:
            return last
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {seconds} s for {what}; last seen: {last!r}")
        time.sleep(every)


def stays(probe, seconds, what="the condition", every=0.05):
    """Fails as soon as `probe` returns something false within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert probe(), f"{what} did not stay true for {seconds} s"
        time.sleep(every)
