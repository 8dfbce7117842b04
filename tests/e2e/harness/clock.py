"""The bridge's clocks, under libfaketime: a test steps them."""

import time
from pathlib import Path

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


class Clock:
    """What the bridge takes for the time of day; with `timers`, also what its timers go by."""

    def __init__(self, directory, timers=False):
        self.file = directory / "clock"
        self.step(0)
        self.wrapper = (
            "env",
            f"LD_PRELOAD={FAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={self.file}",
            "FAKETIME_NO_CACHE=1",
            f"FAKETIME_DONT_FAKE_MONOTONIC={int(not timers)}",
        )

    def step(self, seconds):
        """From now on so many seconds away from the real time."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.file)
        self.ahead = seconds

    def start(self, bridge):
        bridge.spawn(wrapper=self.wrapper)
        bridge.wrapped = False  # `env` makes the bridge of itself
        bridge.wait_ready()

    def shown_by(self, bridge):
        """How far ahead the newest event says that the bridge's clock is, seconds."""
        newest = bridge.events()[-1]
        stamp = newest["recordedtime"].split(".")[0].rstrip("Z")
        return time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) - time.timezone - time.time()
