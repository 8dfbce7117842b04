"""What the machine around the bridge does: the clock steps, descriptors run out, a name points elsewhere."""

import hashlib
import os
import resource
import threading
import time
from pathlib import Path

import redis as redis_client
from harness import sources
from harness.brokers import Redis, redis_backend, stream_texts
from harness.http import Client
from harness.load import Load, check_books
from harness.wait import until


def test_a_clock_that_steps_an_hour_under_load_loses_and_doubles_nothing(bridges, oracles, senders, own_redis, tmp_path):
    offset = tmp_path / "clock"
    offset.write_text("+0")
    library = next(Path("/usr/lib").rglob("faketime/libfaketimeMT.so.1"))
    clock = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), journal='segment_bytes = "1MiB"\nretention = "1m"', env=clock
    ).start()
    one = senders.make("acme")
    assert bridge.post(one.path, one.headers, one.body).json()["status"] == "accepted"
    load = Load(bridge, oracles, senders=3, size=2000, pace=0.003).start()
    for step in ("+1h", "+0", "-1h", "+0"):
        load.reach(len(load.acknowledged) + 150)
        offset.write_text(step)
        load.reach(len(load.acknowledged) + 150)
        assert bridge.post(one.path, one.headers, one.body).json()["status"] == "duplicate", step
    bridge.kill()
    bridge.start()
    assert bridge.post(one.path, one.headers, one.body).json()["status"] == "duplicate"
    load.reach(len(load.acknowledged) + 50)
    load.stop()
    assert set(load.statuses) <= {200, None}, load.statuses  # None: in flight at the kill
    bridge.wait_drained("main")
    load.acknowledged[one.id] = load.tried[one.id] = hashlib.sha256(one.body).hexdigest()
    check_books(load, stream_texts(own_redis))


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_file_descriptors_connections_go_on_and_new_ones_are_taken_once_there_are_some(bridges, senders):
    bridge = bridges(sources.only("acme")).start()
    pid = bridge.process.pid

    def post(client):
        one = senders.make("acme")
        return client.request("POST", one.path, one.headers, one.body).status

    kept = Client(bridge.port)
    assert post(kept) == 200
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_now = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now, before[1]))
    late = Client(bridge.port, timeout=20)
    waiting = senders.make("acme")
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(late.request("POST", waiting.path, waiting.headers, waiting.body).status)
    )
    thread.start()
    used, started = cpu_seconds(pid), time.monotonic()
    while time.monotonic() - started < 1.5:
        assert post(kept) == 200
        time.sleep(0.05)
    assert cpu_seconds(pid) - used < 0.7 * 1.5, "it turns in circles"
    assert answers == [], "a connection was taken without a descriptor"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    freed = time.monotonic()
    thread.join(10)
    assert answers == [200]
    assert time.monotonic() - freed < 1.5


class Elsewhere(Redis):
    """A Redis on the port of another one, at another address."""

    def __init__(self, directory, port):
        super().__init__(directory, "--bind", "127.0.0.2")
        self.port = port

    def client(self):
        return redis_client.Redis(host="127.0.0.2", port=self.port, socket_timeout=30)


def test_a_name_that_points_elsewhere_is_looked_up_at_the_next_connection(bridges, senders, own_redis, tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost broker.example\n")
    url = f"redis://broker.example:{own_redis.port}"
    bridge = bridges(
        sources.only("acme") + f'\n[backends.main]\ntype = "redis"\nurl = "{url}"\nstream = "events"\n'
    )
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    script = f'mount --bind "{hosts}" /etc/hosts && exec "$@"'
    bridge.start(wrapper=(*prefix, "unshare", "--mount", "--fork", "sh", "-c", script, "sh"))
    before, after = senders.make("acme"), senders.make("acme")
    assert bridge.post(before.path, before.headers, before.body).status == 200
    bridge.wait_drained("main")
    assert len(stream_texts(own_redis)) == 1
    other = Elsewhere(tmp_path / "other", own_redis.port).start()
    try:
        hosts.write_text("127.0.0.1 localhost\n127.0.0.2 broker.example\n")
        own_redis.kill()
        assert bridge.post(after.path, after.headers, after.body).status == 200
        until(lambda: len(stream_texts(other)) == 1, 15, "the event at the new address")
    finally:
        other.close()
