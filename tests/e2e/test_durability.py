"""A 2xx means that the event survives: kill -9, power cuts, torn files, failed syncs, second processes."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import sources
from harness.bridge import binary, environment, run
from harness.brokers import redis_backend, stream_texts
from harness.load import Load, check_books, data_bytes
from harness.processes import never_syncs
from harness.sources import unique
from harness.wait import stays, until

# The largest body must fit a segment; small segments make a test cross many.
SMALL = 'max_body = "256KiB"'
LONG = pytest.param(20, marks=pytest.mark.long)


def settle(bridge, load, *backends):
    """Waits until everything acknowledged is in the journal's readers' hands and nothing is owed."""
    bridge.wait_drained(*backends, seconds=60)


# kill -9


@pytest.mark.parametrize("kills", [3, LONG])
def test_kills_under_load_lose_nothing_and_double_nothing_in_redis(bridges, oracles, own_redis, kills):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    load = Load(bridge, oracles, senders=6).start()
    for _ in range(kills):
        goal = len(load.acknowledged) + 150
        load.reach(goal)
        bridge.kill()
        bridge.start()
    load.reach(len(load.acknowledged) + 100)
    load.stop()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_a_kill_while_redis_holds_its_answers_loses_nothing_and_doubles_nothing(bridges, oracles, own_redis):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    load = Load(bridge, oracles, senders=6).start()
    load.reach(200)
    own_redis.stall()
    load.reach(600)  # acknowledged without the broker
    bridge.kill()
    own_redis.resume()  # what was on its way is applied now
    bridge.start()
    load.reach(700)
    load.stop()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_a_kill_while_rabbitmq_holds_its_answers_loses_nothing(
    bridges, oracles, rabbit, to_rabbit, rabbit_reader
):
    bridge = bridges(sources.only("acme") + to_rabbit).start()
    load = Load(bridge, oracles, senders=6).start()
    load.reach(100)
    bridge.wait_delivered("rabbit")
    try:
        rabbit.stall()
        load.reach(400)
        bridge.kill()
    finally:
        rabbit.resume()
    bridge.start()
    load.reach(500)
    load.stop()
    settle(bridge, load, "rabbit")
    reader = rabbit_reader()
    texts = [body for _, body in reader.drain()]
    check_books(load, texts, repeats=len(texts))  # at most the batches in flight; order and content hold
    doubled = len(texts) - len({json.loads(text)["id"] for text in texts})
    assert doubled <= 1000, f"{doubled} doubled: more than a batch in flight"


def test_duplicates_are_known_again_after_a_kill(bridges, senders):
    bridge = bridges(sources.CONFIG).start()
    sent = [senders.make(name) for name in sources.NAMES]
    for one in sent:
        assert bridge.post(one.path, one.headers, one.body).json()["status"] == "accepted"
    for _ in range(2):
        bridge.kill()
        bridge.start()
        for one in sent:
            assert bridge.post(one.path, one.headers, one.body).json() == {"status": "duplicate", "id": one.id}
    assert len(bridge.events()) == len(sent)


def test_sequences_rise_over_kills_and_are_never_given_out_twice(bridges, senders):
    bridge = bridges(sources.only("std")).start()
    seen = []
    for _ in range(5):
        one = senders.make("std")
        assert bridge.post(one.path, one.headers, one.body).status == 200
        seen.append(bridge.events()[-1]["sequence"])
        bridge.kill()
        bridge.start()
    assert seen == sorted(set(seen))
    assert [event["sequence"] for event in bridge.events()] == seen


def test_kills_during_recovery_change_nothing(bridges, oracles):
    bridge = bridges(sources.only("acme")).start()
    load = Load(bridge, oracles).run(300)
    bridge.kill()
    for milliseconds in (0, 2, 5, 10, 20, 40, 80):
        bridge.spawn()
        time.sleep(milliseconds / 1000)  # the moment of the kill is the subject
        bridge.kill()
    bridge.start()
    events = bridge.events()
    assert {event["id"] for event in events} >= load.acknowledged.keys()
    assert len({event["id"] for event in events}) == len(events)


@pytest.mark.parametrize("count", [2000, pytest.param(50_000, marks=pytest.mark.long)])
def test_the_own_load_generators_ids_all_arrive(bridges, tmp_path, own_redis, count):
    """`hookferry send --ids FILE` notes the id of each acknowledged event."""
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    ids = tmp_path / "ids"
    done = run(
        *("send", "acme", "--config", str(bridge.config_path), "--count", str(count)),
        *("--connections", "16", "--ids", str(ids)),
        cwd=tmp_path,
        timeout=300,
    )
    assert done.returncode == 0, done
    acknowledged = ids.read_text().split()
    assert len(acknowledged) == len(set(acknowledged)) == count
    settle(bridge, None, "main")
    arrived = [json.loads(text)["id"] for text in stream_texts(own_redis)]
    assert sorted(arrived) == sorted(acknowledged)


def test_writing_events_reads_nothing_from_the_disk(disk, bridges, tmp_path):
    """A block that is written in part would be read first: a wait for the disk at each batch."""
    bridge = bridges(sources.only("acme"), journal_dir=disk.path / "data").start()

    def send(count):
        arguments = ("send", "acme", "--config", str(bridge.config_path), "--count", str(count), "--connections", "1")
        assert run(*arguments, cwd=tmp_path).returncode == 0

    def read():
        counters = Path(f"/proc/{bridge.pid}/io").read_text()
        return int(re.search(r"^read_bytes: (\d+)$", counters, re.MULTILINE)[1])

    # What the program itself is read from.
    send(20)
    before = read()
    send(1000)
    assert read() - before < 256 << 10


# Clean stops


def test_a_clean_restart_publishes_nothing_twice(
    bridges, oracles, redis, stream, to_redis, to_rabbit, to_sqs, rabbit_reader, sqs_reader
):
    bridge = bridges(sources.only("acme") + to_redis + to_rabbit + to_sqs).start()
    load = Load(bridge, oracles, pace=0.002).start()
    for _ in range(3):
        load.reach(len(load.acknowledged) + 60)
        assert bridge.stop() == 0
        bridge.start()
    load.reach(len(load.acknowledged) + 60)
    load.stop()
    settle(bridge, load, "main", "rabbit", "orders")
    assert bridge.stop() == 0
    bridge.start()
    settle(bridge, load, "main", "rabbit", "orders")
    check_books(load, stream_texts(redis, stream))
    check_books(load, [body for _, body in rabbit_reader().drain()])
    texts = [message["Body"].encode() for message in sqs_reader.drain()]
    check_books(load, sorted(texts, key=lambda text: json.loads(text)["sequence"]))


def test_a_stop_while_the_broker_is_stalled_ends_in_time_and_keeps_the_backlog(bridges, oracles, own_redis):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), server='shutdown_grace = "3s"'
    ).start()
    load = Load(bridge, oracles)
    load.start().reach(100)
    own_redis.stall()
    load.reach(300)
    load.stop()
    started = time.monotonic()
    assert bridge.stop() == 0
    assert time.monotonic() - started < 6
    own_redis.resume()
    bridge.start()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_a_second_sigterm_ends_at_once(bridges, oracles, own_redis):
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    load = Load(bridge, oracles).start()
    load.reach(50)
    own_redis.stall()
    load.reach(150)
    load.stop()
    started = time.monotonic()
    bridge.signal(signal.SIGTERM)
    time.sleep(0.2)  # two signals at once would be one
    if bridge.process.poll() is None:
        bridge.signal(signal.SIGTERM)
    bridge.wait_end(5)
    assert time.monotonic() - started < 5
    own_redis.resume()
    bridge.start()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


# One process a journal


def test_a_second_process_on_the_journal_fails_and_the_first_is_unharmed(bridges, senders):
    first = bridges(sources.only("std")).start()
    one = senders.make("std")
    assert first.post(one.path, one.headers, one.body).status == 200
    second = bridges(sources.only("std"), journal_dir=first.journal_dir)
    second.spawn()
    assert second.wait_end(10) == 1
    said = second.log()
    assert str(first.journal_dir) in said
    assert re.search(r"lock|another|in use|already", said, re.IGNORECASE), said
    other = senders.make("std")
    assert first.post(other.path, other.headers, other.body).status == 200
    assert [event["id"] for event in first.events()] == [one.id, other.id]
    first.kill()
    second.start()  # the lock does not outlive its holder
    assert [event["id"] for event in second.events()] == [one.id, other.id]


# Damage


def segments(bridge):
    """Files of the journal that hold records, the one written last at the end."""
    return sorted(bridge.journal_dir.rglob("*.seg"))


def holder(bridge, text):
    """The file that holds these bytes, and where."""
    for path in segments(bridge):
        at = path.read_bytes().find(text)
        if at >= 0:
            return path, at
    raise AssertionError("no segment holds the record")


def with_events(bridges, senders, count):
    bridge = bridges(sources.only("acme")).start()
    sent = [senders.make("acme") for _ in range(count)]
    for one in sent:
        assert bridge.post(one.path, one.headers, one.body).status == 200
    return bridge, sent


@pytest.mark.parametrize("cut", ["in the body", "before the body", "garbage after it", "zeros over it"])
def test_a_torn_tail_is_cut_and_every_record_before_it_is_kept(bridges, senders, cut):
    bridge, sent = with_events(bridges, senders, 50)
    bridge.kill()
    path, at = holder(bridge, sent[-1].body)
    size = path.stat().st_size
    end = at + len(sent[-1].body)
    with open(path, "r+b") as file:
        if cut == "in the body":
            file.truncate(at + 5)
        elif cut == "before the body":
            file.truncate(at - 40)
        elif cut == "garbage after it":
            file.seek(end + 64)
            file.write(os.urandom(3000))
        else:
            file.seek(at + 3)
            file.write(bytes(size - at - 3))
    bridge.start()
    ids = [event["id"] for event in bridge.events()]
    kept = len(sent) if cut == "garbage after it" else len(sent) - 1
    assert ids[:kept] == [one.id for one in sent[:kept]]
    assert set(ids) <= {one.id for one in sent}
    after = senders.make("acme")
    assert bridge.post(after.path, after.headers, after.body).json()["status"] == "accepted"
    bridge.kill()
    bridge.start()
    assert [event["id"] for event in bridge.events()] == [*ids, after.id]


def test_a_bad_record_in_the_middle_is_set_aside_and_later_ones_are_kept(bridges, senders):
    bridge, sent = with_events(bridges, senders, 50)
    assert bridge.stop() == 0
    path, at = holder(bridge, sent[20].body)
    with open(path, "r+b") as file:
        file.seek(at + 10)
        byte = file.read(1)[0]
        file.seek(at + 10)
        file.write(bytes([byte ^ 0x10]))
    for _ in range(2):
        bridge.start()
        ids = [event["id"] for event in bridge.events()]
        assert ids == [one.id for number, one in enumerate(sent) if number != 20]
        assert bridge.stop() == 0
    assert re.search(r"corrupt|damage|set aside|quarantine", bridge.logs(), re.IGNORECASE), bridge.logs()


def test_records_of_many_segments_are_all_read_after_a_kill(bridges, oracles, own_redis):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), server=SMALL, journal='segment_bytes = "1MiB"'
    ).start()
    own_redis.stall()
    load = Load(bridge, oracles, senders=6, size=8000).run(600)
    bridge.kill()
    own_redis.resume()
    bridge.start()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_a_full_journal_refuses_new_events_and_drops_none_then_takes_them_again(bridges, oracles, own_redis):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis),
        server=SMALL,
        journal='segment_bytes = "1MiB"\nmax_bytes = "4MiB"',
    ).start()
    own_redis.stall()
    load = Load(bridge, oracles, senders=4, size=20_000, repeat=False).start()
    until(lambda: load.statuses.get(503, 0) >= 5, 60, "503 from a full journal")
    load.stop()
    one = Load(bridge, oracles, senders=1, size=20_000, repeat=False)
    body = json.dumps({"type": "order.created", "n": unique("x"), "padding": "x" * 20_000}).encode()
    headers = [("Host", "x"), ("Content-Type", "application/json"), ("X-Acme-Id", unique("full_"))]
    reply = bridge.post("/webhooks/acme", headers + oracles.sign("custom", one.secret, body), body)
    assert (reply.status, reply.problem) == (503, "journal_full")
    assert int(reply.headers["retry-after"]) >= 1
    assert bridge.admin("GET", "/livez").status == 200
    own_redis.resume()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))
    until(
        lambda: bridge.post("/webhooks/acme", headers + oracles.sign("custom", one.secret, body), body).status == 200,
        20,
        "room in the journal",
        every=0.2,
    )


# Segments that retire


RETIRING = 'segment_bytes = "1MiB"\nmax_bytes = "4MiB"'


def test_kills_while_segments_retire_and_are_used_again_lose_nothing(bridges, oracles, own_redis):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis), server=SMALL, journal=RETIRING
    ).start()
    load = Load(bridge, oracles, senders=4, size=20_000).start()
    for _ in range(3):
        # Three times 4 MB of delivered events: each file of the quota is used more than once.
        load.reach(len(load.acknowledged) + 200)
        bridge.kill()
        bridge.start()
    load.stop()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))
    files = [path.stat().st_size for path in bridge.journal_dir.rglob("*") if path.is_file()]
    assert sum(files) < 6 << 20, f"{sum(files)} B on disk, the quota is 4 MiB"
    events = bridge.events()
    assert events, "the last of them stay readable"
    sequences = [event["sequence"] for event in events]
    assert sequences == sorted(set(sequences))
    arrived = [json.loads(text)["sequence"] for text in stream_texts(own_redis)]
    assert arrived[-len(sequences):] == sequences, "what is readable is the newest, without a hole"


def test_an_event_whose_segment_is_gone_is_still_known_as_a_duplicate(bridges, oracles, senders, own_redis):
    bridge = bridges(
        sources.only("acme", "code") + redis_backend(own_redis), server=SMALL, journal=RETIRING
    ).start()
    early = [senders.make("acme"), senders.make("code")]
    for one in early:
        assert bridge.post(one.path, one.headers, one.body).json()["status"] == "accepted"
    load = Load(bridge, oracles, senders=4, size=20_000).run(400)
    settle(bridge, load, "main")
    for end in (None, bridge.kill, bridge.stop):
        if end:
            end()
            bridge.start()
            assert early[0].id not in {event["id"] for event in bridge.events()}, "its segment is still there"
        for one in early:
            assert bridge.post(one.path, one.headers, one.body).json() == {"status": "duplicate", "id": one.id}
    assert len(stream_texts(own_redis)) == len(early) + len(load.acknowledged)


# Power


def power_cut(bridge, disk):
    """Everything stops at once; what was not synced is gone."""
    bridge.signal(signal.SIGSTOP)
    disk.cut_power()
    bridge.kill()
    disk.unmount()
    disk.mount()


@pytest.mark.parametrize("cuts", [2, LONG])
def test_a_power_cut_under_load_loses_no_acknowledged_event(bridges, oracles, own_redis, disk, cuts):
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis),
        server=SMALL,
        journal='segment_bytes = "1MiB"',
        journal_dir=disk.path / "data",
    ).start()
    try:
        load = Load(bridge, oracles, senders=6, size=1500).start()
        for _ in range(cuts):
            # Enough for several segments: preparing one ahead of need must survive as well.
            load.reach(len(load.acknowledged) + 1000)
            power_cut(bridge, disk)
            bridge.start()
        load.reach(len(load.acknowledged) + 100)
        load.stop()
        settle(bridge, load, "main")
        check_books(load, stream_texts(own_redis))
        everything = {event["id"] for event in bridge.events()}
        assert load.acknowledged.keys() <= everything
    finally:
        bridge.close()


def test_a_power_cut_amid_large_bodies_loses_no_acknowledged_event(bridges, oracles, own_redis, disk):
    """Where syncs are large, segments are set aside instead of zeroed: a sync then carries the map of the file as well."""
    bridge = bridges(
        sources.only("acme") + redis_backend(own_redis),
        server='max_body = "1MiB"',
        journal='segment_bytes = "8MiB"',
        journal_dir=disk.path / "data",
    ).start()
    try:
        own_redis.stall()  # every body is read from the journal after a cut
        load = Load(bridge, oracles, senders=6, size=700_000).start()
        for _ in range(2):
            load.reach(len(load.acknowledged) + 30)
            until(lambda: any(set_aside(file) for file in bridge.journal_dir.rglob("*-*")), 20, "a segment set aside")
            load.reach(len(load.acknowledged) + 15)
            power_cut(bridge, disk)
            bridge.start()
        load.stop()
        own_redis.resume()
        settle(bridge, load, "main")
        check_books(load, stream_texts(own_redis))
    finally:
        bridge.close()


def set_aside(file):
    """Whether the file has blocks that nothing was written to."""
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            return size > 0 and os.lseek(opened.fileno(), 0, os.SEEK_HOLE) < size
    except FileNotFoundError:
        return False  # renamed or removed meanwhile


def test_a_power_cut_right_after_the_journal_has_changed_files_loses_nothing(bridges, oracles, disk, tmp_path):
    """The new file's name is synced before anything in the file is acknowledged.

    Every fsync is held for a while, so that none of another file carries the name to disk by accident;
    fdatasync, which acknowledges, is not.
    """
    bridge = bridges(
        sources.only("acme"),
        server=SMALL + '\nack_timeout = "10s"',
        journal='segment_bytes = "1MiB"',
        journal_dir=disk.path / "data",
    )
    try:
        for _ in range(2):
            bridge.spawn(wrapper=slow(tmp_path, "fsync", 400_000))
            bridge.wait_ready(60)
            # A file that is made ready ahead of need, as is the rule, needs nothing but its name.
            until(lambda: list(bridge.journal_dir.rglob("spare-*")), 20, "a spare file")
            time.sleep(1)  # its fsync is one that is held
            last = segments(bridge)[-1]
            load = Load(bridge, oracles, senders=4, size=20_000, repeat=False).start()
            until(lambda last=last: segments(bridge)[-1] > last, 60, "a new segment", every=0.0005)
            load.reach(len(load.acknowledged) + 1)
            power_cut(bridge, disk)
            load.stop()
            bridge.start()
            kept = {event["id"] for event in bridge.events()}
            assert load.acknowledged.keys() <= kept, f"{len(load.acknowledged.keys() - kept)} lost"
            bridge.kill()
    finally:
        if bridge.process is not None:
            bridge.close()


def test_the_power_cut_finds_a_journal_that_skips_its_syncs(bridges, oracles, disk):
    """The control of the tests above: where the sync of a batch does nothing, acknowledged events are lost."""
    check = "import os; os.fdatasync(9999)"  # no such file: fails unless it does nothing
    subprocess.run(["/usr/bin/python3", "-c", check], preexec_fn=never_syncs, check=True, timeout=20)
    bridge = bridges(
        sources.only("acme"), server=SMALL, journal='segment_bytes = "1MiB"', journal_dir=disk.path / "data"
    )
    try:
        for attempt in range(5):
            bridge.start(preexec=never_syncs)
            load = Load(bridge, oracles, senders=6, repeat=False).start()
            load.reach(500)
            power_cut(bridge, disk)
            load.stop()
            bridge.spawn()
            try:
                bridge.wait_ready()
            except AssertionError:
                # Without syncs the journal may not even be one any more: lost all the same.
                assert bridge.process.poll() is not None
                bridge.wait_end()
                return
            kept = {event["id"] for event in bridge.events()}
            lost = load.acknowledged.keys() - kept
            bridge.kill()
            if lost:
                return
        raise AssertionError(f"{attempt + 1} power cuts without a sync lost nothing: the test is blind")
    finally:
        if bridge.process is not None:
            bridge.close()


# Failed syncs


SYNCS = "fdatasync,fsync"


def strace(tmp_path, calls, injection):
    """A wrapper that tampers with system calls of the bridge."""
    return (
        *("strace", "-f", "-qqq", "--seccomp-bpf", "-o", str(tmp_path / "strace")),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:{injection}"),
    )


def failing(tmp_path, when):
    """The given syncs fail with EIO."""
    return strace(tmp_path, SYNCS, f"error=EIO:when={when}")


def slow(tmp_path, calls, microseconds):
    """These calls take so much longer."""
    return strace(tmp_path, calls, f"delay_enter={microseconds}")


def syncs_at_start(bridges, senders, tmp_path):
    """How many syncs a start and one event take, so that later ones can be chosen."""
    bridge = bridges(sources.only("acme"))
    bridge.start(wrapper=failing(tmp_path, 65_535))
    one = senders.make("acme")
    assert bridge.post(one.path, one.headers, one.body).status == 200
    bridge.stop()
    return (tmp_path / "strace").read_text().count("sync(")


def test_a_failed_sync_acknowledges_nothing_of_its_batch_and_the_next_goes_to_a_new_file(
    bridges, oracles, senders, tmp_path, own_redis
):
    first = syncs_at_start(bridges, senders, tmp_path)
    bridge = bridges(sources.only("acme") + redis_backend(own_redis))
    bridge.start(wrapper=failing(tmp_path, first + 20))
    load = Load(bridge, oracles, senders=4).start()
    until(lambda: load.statuses.get(503, 0) > 0 or len(load.acknowledged) > 2000, 60, "a sync to fail")
    load.reach(len(load.acknowledged) + 100)
    load.stop()
    assert load.statuses.get(503, 0) > 0, "a failed sync was answered with success"
    assert bridge.metric("hookferry_journal_fsync_failures_total") == 1
    assert bridge.metric("hookferry_journal_open") == 1
    assert bridge.admin("GET", "/readyz").status == 200
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))
    bridge.stop()
    bridge.start()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_a_disk_that_fails_for_good_closes_the_journal_and_says_so(bridges, oracles, senders, tmp_path, own_redis):
    first = syncs_at_start(bridges, senders, tmp_path)
    bridge = bridges(sources.only("acme") + redis_backend(own_redis))
    bridge.start(wrapper=failing(tmp_path, f"{first + 20}+"))
    load = Load(bridge, oracles, senders=4, repeat=False).start()
    until(lambda: bridge.admin("GET", "/readyz").status == 503, 60, "readyz 503")
    load.stop()
    one = senders.make("acme")
    reply = bridge.post(one.path, one.headers, one.body)
    assert (reply.status, reply.problem) == (503, "journal_closed")
    assert int(reply.headers["retry-after"]) >= 1
    assert bridge.metric("hookferry_journal_open") == 0
    assert bridge.metric("hookferry_journal_fsync_failures_total") >= 2
    assert bridge.admin("GET", "/livez").status == 200
    # What was acknowledged before is still ferried.
    until(lambda: len(stream_texts(own_redis)) >= len(load.acknowledged), 30, "the backlog in Redis")
    bridge.stop()
    bridge.start()
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_no_answer_comes_before_its_sync(bridges, senders, tmp_path):
    """Each sync is held for a second: no acknowledgement may come earlier."""
    bridge = bridges(sources.only("acme"), server='ack_timeout = "10s"')
    bridge.spawn(wrapper=slow(tmp_path, SYNCS, 700_000))
    bridge.wait_ready(60)
    for _ in range(3):
        one = senders.make("acme")
        started = time.monotonic()
        reply = bridge.post(one.path, one.headers, one.body)
        took = time.monotonic() - started
        assert reply.status == 200
        assert took > 0.65, f"answered after {took:.3f} s, before the sync"
    bridge.stop()


def test_a_sync_slower_than_the_ack_timeout_is_503_and_the_event_is_kept_once(bridges, senders, tmp_path):
    bridge = bridges(sources.only("acme"), server='ack_timeout = "300ms"')
    bridge.spawn(wrapper=slow(tmp_path, SYNCS, 1_500_000))
    bridge.wait_ready(60)
    one = senders.make("acme")
    reply = bridge.post(one.path, one.headers, one.body)
    assert (reply.status, reply.problem) == (503, "journal_slow")
    assert int(reply.headers["retry-after"]) >= 1
    # The sender tries again, as it was told to.
    statuses = []

    def accepted():
        statuses.append(bridge.post(one.path, one.headers, one.body))
        return statuses[-1].status == 200

    until(accepted, 20, "the event acknowledged", every=0.3)
    assert statuses[-1].json() == {"status": "duplicate", "id": one.id}
    assert [event["id"] for event in bridge.events()] == [one.id]
    bridge.stop()


# Disk gone


def test_a_journal_directory_that_cannot_be_used_stops_the_start_and_names_the_path(bridges, tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("not a directory")
    bridge = bridges(sources.only("acme"), journal_dir=in_the_way)
    bridge.spawn()
    assert bridge.wait_end(15) == 1
    assert str(in_the_way) in bridge.log()
    assert in_the_way.read_text() == "not a directory"


def test_a_redis_that_lost_its_tail_gets_exactly_the_missing_range_again(bridges, oracles, own_redis):
    """A Redis that came back from an older file shows a key behind the journal's cursor."""
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    load = Load(bridge, oracles).start()
    load.reach(100)
    load.stop()
    settle(bridge, load, "main")
    old = {path: path.read_bytes() for path in own_redis.directory.rglob("*aof*") if path.is_file()}
    assert old
    more = Load(bridge, oracles).run(100)
    settle(bridge, more, "main")
    own_redis.kill()
    for path in own_redis.directory.rglob("*aof*"):
        if path.is_file():
            path.write_bytes(old[path])
    own_redis.start()
    one = Load(bridge, oracles).run(10)
    load.acknowledged |= more.acknowledged | one.acknowledged
    load.tried |= more.tried | one.tried
    until(lambda: len(stream_texts(own_redis)) >= len(load.acknowledged), 30, "the missing range")
    settle(bridge, load, "main")
    check_books(load, stream_texts(own_redis))


def test_a_restart_owes_nothing_to_the_shell_it_was_started_from(bridges, senders):
    """The journal is where the configuration says, whatever the working directory is."""
    bridge = bridges(sources.only("std")).start()
    one = senders.make("std")
    assert bridge.post(one.path, one.headers, one.body).status == 200
    assert bridge.stop() == 0
    process = subprocess.Popen(
        [binary(), "serve", "--config", str(bridge.config_path)],
        cwd="/",
        env=environment(bridge.directory),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _is_ready(bridge), what="readyz 200")
        assert [event["id"] for event in bridge.events()] == [one.id]
    finally:
        process.terminate()
        assert process.wait(20) == 0


def _is_ready(bridge):
    try:
        return bridge.admin("GET", "/readyz").status == 200
    except OSError:
        return False


def test_bodies_are_unchanged_after_a_kill(bridges, senders, own_redis):
    own_redis.stall()
    bridge = bridges(sources.only("acme") + redis_backend(own_redis)).start()
    bodies = [b'{"type":"order.created",\r\n"n":1.10,"n":%d}' % n for n in range(20)]
    for body in bodies:
        one = senders.make("acme", body)
        assert bridge.post(one.path, one.headers, body).status == 200
    bridge.kill()
    own_redis.resume()
    bridge.start()
    settle(bridge, None, "main")
    assert [data_bytes(text) for text in stream_texts(own_redis)] == bodies
    stays(lambda: len(stream_texts(own_redis)) == len(bodies), 0.5)
