"""Pages stay quick however much the journal holds: the time that the server takes, on loopback."""

import statistics
import time

import pytest
from harness import sources
from harness.bridge import run

LIMIT_S = 0.1
ROUNDS = 7


def seconds(bridge, path):
    """Median of some rounds, the first left out: it may read what no page has read yet."""
    taken = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        answer = bridge.admin("GET", path)
        taken.append(time.perf_counter() - begun)
        assert answer.status == 200, (path, answer)
    return statistics.median(taken[1:])


@pytest.mark.parametrize("events", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_every_page_is_there_within_a_tenth_of_a_second(bridges, tmp_path, to_redis, record_property, events):
    lost = '\n[backends.lost]\ntype = "redis"\nurl = "redis://127.0.0.1:1"\nstream = "x"\n'
    route = '\n[[routes]]\nmatch = { type = "nothing" }\nto = ["main", "lost"]\n'
    bridge = bridges(sources.only("std", "acme") + to_redis + lost + route, journal='segment_bytes = "64MiB"', server='max_connections = 200').start()
    config = ("--config", str(bridge.config_path))
    for source, share in (("std", 0.99), ("acme", 0.01)):
        sent = run("send", source, "--count", str(int(events * share)), "--connections", "32", *config, cwd=tmp_path, timeout=1800)
        assert sent.returncode == 0, sent
    newest = bridge.page(order="newest", limit=1)["events"][0]
    last, oldest = int(newest["sequence"]), bridge.page(limit=1)["events"][0]
    assert last >= events
    middle = bridge.admin("GET", f"/v1/events/{last // 2}").json()
    paths = {
        "overview": "/",
        "events": "/events",
        "one event": f"/events/{last // 2}",
        "far back": f"/events?before={last // 2}",
        "newest of a source": "/events?source=acme",
        "a source that is rare behind": f"/events?source=acme&before={last // 2}",
        "no such type": "/events?type=no.such*",
        "the newest id": f"/events?id={newest['id']}",
        "no such id": "/events?id=no-such-id",
        "an id and its time": f"/events?id={middle['id']}&since={middle['recordedtime']}&until={middle['recordedtime'][:-1]}9Z",
        "the last minute": "/events?since=1m",
        "before the oldest": f"/events?until={oldest['recordedtime']}",
        "refused": "/refused",
        "sources": "/sources",
        "backends": "/backends",
        "dead letters": "/dead-letters",
        "api, newest": "/v1/events?order=newest&limit=100",
        "api, oldest": "/v1/events?limit=100",
        "metrics": "/metrics",
        "status": "/v1/status",
    }
    took = {name: seconds(bridge, path) for name, path in paths.items()}
    print("\n" + "\n".join(f"{name:<30} {taken * 1000:7.1f} ms" for name, taken in took.items()))
    slow = {name: round(taken, 3) for name, taken in took.items() if taken > LIMIT_S}
    assert not slow, slow
