"""What can happen to the files of a journal: missing, damaged, foreign, not writable, of another release."""

import hashlib
import json
import os
import re
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from harness import sources
from harness.brokers import redis_backend, stream_texts
from harness.load import Load, check_books
from harness.wait import until

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
SMALL = {"server": 'max_body = "16KiB"', "journal": 'segment_bytes = "128KiB"'}


def post(bridge, one):
    return bridge.post(one.path, one.headers, one.body)


def tree(directory):
    """Every file under a directory with the digest of its bytes."""
    paths = [path for path in Path(directory).rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def segments(bridge):
    return sorted((bridge.journal_dir / "journal").glob("*.seg"))


def inject(directory, when, error="EIO"):
    """A wrapper that makes the given calls of fdatasync and fsync fail."""
    calls = "fdatasync,fsync"
    return ("strace", "-f", "-qqq", "--seccomp-bpf", "-e", f"trace={calls}",
            "-e", f"inject={calls}:error={error}:when={when}", "-o", str(directory / "strace"))  # fmt: skip


# Failed syncs


@pytest.mark.parametrize("nth", [12, 25, 40])
def test_events_refused_by_a_failed_sync_are_no_phantoms_after_a_kill(bridges, oracles, tmp_path, own_redis, nth):
    """The senders repeat what was refused: a refused copy that came back would arrive twice."""
    bridge = bridges(sources.only("acme") + redis_backend(own_redis), **SMALL)
    bridge.start(wrapper=inject(tmp_path, nth))
    load = Load(bridge, oracles, senders=4).start()
    until(lambda: load.statuses.get(503, 0) > 0 or len(load.acknowledged) > 3000, 60, "a sync to fail")
    load.reach(len(load.acknowledged) + 50)
    assert bridge.metric("hookferry_journal_fsync_failures_total") >= 1
    assert bridge.admin("GET", "/readyz").status == 200
    bridge.kill()
    bridge.start()
    load.reach(len(load.acknowledged) + 50)
    load.stop()
    bridge.wait_drained("main")
    check_books(load, stream_texts(own_redis))
    ids = [event["id"] for event in bridge.events()]
    assert len(ids) == len(set(ids)), "a refused event came back from the failed file"


def test_a_clean_stop_after_a_failed_sync_publishes_nothing_twice(bridges, senders, tmp_path, rabbit, to_rabbit, rabbit_reader):
    """RabbitMQ keeps no cursor: where it stands must be on disk, though the file that held it failed."""
    bridge = bridges(sources.only("acme") + to_rabbit, **SMALL)
    bridge.start(wrapper=inject(tmp_path, 20))
    assert bridge.admin("POST", "/v1/backends/rabbit/pause").status in (200, 204)
    accepted = []
    while True:
        one = senders.make("acme")
        reply = post(bridge, one)
        if reply.status != 200:
            break
        accepted.append(one.id)
        assert len(accepted) < 200, "no sync failed"
    assert reply.status == 503
    assert bridge.admin("POST", "/v1/backends/rabbit/resume").status in (200, 204)
    bridge.wait_drained("rabbit")
    bridge.stop()
    bridge.start()
    bridge.wait_drained("rabbit")
    assert [json.loads(body)["id"] for _, body in rabbit_reader().drain()] == accepted


# Damage, from outside


def test_a_damaged_journal_starts_again_and_counts_what_is_gone(bridges, oracles):
    bridge = bridges(sources.only("acme"), **SMALL).start()
    load = Load(bridge, oracles, senders=2, size=2000).run(300)
    events = bridge.events()
    assert bridge.stop() == 0
    files = segments(bridge)
    assert len(files) >= 4
    with open(files[1], "r+b") as file:  # both copies of the header
        file.write(bytes(4000))
    body = files[2].read_bytes()
    at = body.index(b'"padding"', len(body) // 2)
    files[2].write_bytes(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
    with open(files[3], "r+b") as file:
        file.truncate(os.path.getsize(files[3]) // 2)
    for _ in range(3):
        bridge.start()
        kept = bridge.events()
        wanted = {event["id"]: event for event in events}
        assert all(wanted[event["id"]] == event for event in kept)
        in_third = [e for e in events if first(files[3]) <= int(e["sequence"]) < first(files[4])] if len(files) > 4 else []
        lost = {event["id"] for event in events} - {event["id"] for event in kept}
        assert len(lost) <= 1 + len(in_third), f"{len(lost)} lost"
        assert [e["sequence"] for e in kept] == sorted(e["sequence"] for e in kept)
        assert bridge.metric("hookferry_journal_damaged_records_total") >= 2
        assert any((bridge.journal_dir / "quarantine").iterdir())
        bridge.kill()
    bridge.start()
    assert load.acknowledged.keys() >= {event["id"] for event in bridge.events()}


def first(path):
    return int(path.stem)


# Side files


@pytest.mark.parametrize("how", ["missing", "empty", "damaged", "of another journal"])
def test_ids_are_known_again_where_their_side_files_are(bridges, senders, oracles, how):
    bridge = bridges(sources.only("acme"), **SMALL).start()
    early = [senders.make("acme") for _ in range(10)]
    for one in early:
        assert post(bridge, one).json()["status"] == "accepted"
    Load(bridge, oracles, senders=2, size=2000).run(250)
    assert bridge.stop() == 0
    sidecars = sorted((bridge.journal_dir / "dedup").glob("*.ids"))
    assert sidecars
    for path in sidecars:
        content = bytearray(path.read_bytes())
        if how == "missing":
            path.unlink()
        elif how == "empty":
            path.write_bytes(b"")
        elif how == "damaged":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        else:
            content[16:32] = os.urandom(16)
            path.write_bytes(content)
    bridge.start()
    for one in early:
        assert post(bridge, one).json() == {"status": "duplicate", "id": one.id}
    if how == "damaged":
        assert re.search(r"\.ids is damaged", bridge.log())


@pytest.mark.parametrize("content", [None, b"", b"\xff\x00 no pid", b"99999999\n" * 1000])
def test_the_lock_file_may_be_gone_or_hold_anything(bridges, senders, content):
    bridge = bridges(sources.only("std")).start()
    one = senders.make("std")
    assert post(bridge, one).status == 200
    assert bridge.stop() == 0
    lock = bridge.journal_dir / "journal.lock"
    lock.unlink()
    if content is not None:
        lock.write_bytes(content)
    bridge.start()
    assert [event["id"] for event in bridge.events()] == [one.id]
    assert lock.read_text().strip() == str(bridge.process.pid)


def test_leftovers_of_an_interrupted_write_go_at_the_next_start(bridges, senders):
    bridge = bridges(sources.only("std"), **SMALL).start()
    one = senders.make("std")
    assert post(bridge, one).status == 200
    bridge.kill()
    for name in ("journal/next.tmp", "journal/spare-9.tmp", "dedup/00000000000000000001.tmp"):
        path = bridge.journal_dir / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half of something")
    bridge.start()
    assert [event["id"] for event in bridge.events()] == [one.id]
    halves = [path for path in bridge.journal_dir.rglob("*.tmp") if path.read_bytes() == b"half of something"]
    assert halves == []


# The directory


def test_foreign_files_are_left_alone_and_do_no_harm(bridges, senders):
    bridge = bridges(sources.only("std"), **SMALL).start()
    one = senders.make("std")
    assert post(bridge, one).status == 200
    assert bridge.stop() == 0
    at = bridge.journal_dir
    copy = (segments(bridge)[0]).read_bytes()
    (at / "journal" / "lost+found").mkdir()
    foreign = {
        at / "README": b"a note",
        at / "journal" / "notes.txt": b"a note",
        at / "journal" / "notes.seg": b"no segment",
        at / "journal" / "00000000000000000001 (copy).seg": copy,
        at / "journal" / ".nfs0001": b"",
        at / "dedup" / "notes": b"a note",
        at / "dedup" / "x.ids": b"a note",
    }
    (at / "dedup").mkdir(exist_ok=True)
    for path, content in foreign.items():
        path.write_bytes(content)
    for _ in range(2):
        bridge.start()
        assert [event["id"] for event in bridge.events()] == [one.id]
        assert bridge.stop() == 0
    assert {path: path.read_bytes() for path in foreign} == foreign


def test_a_directory_that_is_read_only_stops_the_start_and_names_the_path(bridges, senders, disk):
    bridge = bridges(sources.only("std"), journal_dir=disk.path / "data").start()
    assert post(bridge, senders.make("std")).status == 200
    assert bridge.stop() == 0
    before = tree(bridge.journal_dir)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.path)], check=True, timeout=20)
    bridge.spawn()
    assert bridge.wait_end(15) == 1
    assert str(bridge.journal_dir) in bridge.log(), bridge.log()
    assert tree(bridge.journal_dir) == before
    subprocess.run(["mount", "-o", "remount,rw", str(disk.path)], check=True, timeout=20)
    bridge.start()
    assert len(bridge.events()) == 1
    assert bridge.stop() == 0


def test_a_journal_directory_that_vanishes_under_way_refuses_events_and_says_so(bridges, senders, oracles):
    bridge = bridges(sources.only("acme"), **SMALL).start()
    assert post(bridge, senders.make("acme")).status == 200
    bridge.journal_dir.rename(bridge.journal_dir.with_name("moved"))
    load = Load(bridge, oracles, senders=2, size=4000, repeat=False).start()
    until(lambda: bridge.admin("GET", "/readyz").status == 503, 60, "readyz 503")
    load.stop()
    bridge.stop()
    bridge.journal_dir.with_name("moved").rename(bridge.journal_dir)
    bridge.start()
    assert load.acknowledged.keys() <= {event["id"] for event in bridge.events()}


# Other releases


def test_a_journal_of_a_newer_format_is_refused_and_not_a_byte_of_it_is_changed(bridges, oracles):
    bridge = bridges(sources.only("acme"), **SMALL).start()
    Load(bridge, oracles, size=2000).run(150)
    assert bridge.stop() == 0
    newest = segments(bridge)[-1]
    with open(newest, "r+b") as file:
        for offset in (0, 2048):
            file.seek(offset + 8)
            file.write(struct.pack("<I", 2))
    (bridge.journal_dir / "journal" / "spare-1.tmp").write_bytes(b"of the newer release")
    before = tree(bridge.journal_dir)
    bridge.spawn()
    assert bridge.wait_end(15) == 1
    said = bridge.log()
    assert re.search(r"format 2\b.*reads up to 1\b", said), said
    assert tree(bridge.journal_dir) == before


@pytest.mark.parametrize("release", sorted(path.name.removesuffix(".tar.gz") for path in GOLDEN.glob("*.tar.gz")))
def test_a_journal_of_every_released_format_is_read_and_ferried(bridges, own_redis, senders, release):
    bridge = bridges(
        sources.CONFIG + '\n[dedup]\nwindow = "876000h"\n' + redis_backend(own_redis),
        server='max_body = "16KiB"',
        journal='segment_bytes = "128KiB"\nretention = "876000h"',
    )
    with tarfile.open(GOLDEN / f"{release}.tar.gz") as archive:
        archive.extractall(bridge.journal_dir, filter="data")
    wanted = [json.loads(line) for line in (GOLDEN / f"{release}.jsonl").read_text().splitlines()]
    bridge.start()
    assert bridge.events() == wanted
    assert bridge.metric("hookferry_journal_damaged_records_total") == 0
    bridge.wait_drained("main")
    texts = stream_texts(own_redis)
    assert [json.loads(text) for text in texts] == wanted
    known = json.loads((GOLDEN / f"{release}.ids.json").read_text())
    again = senders.make("std", known["body"].encode(), id=known["id"])
    assert post(bridge, again).json() == {"status": "duplicate", "id": known["id"]}
    assert post(bridge, senders.make("std")).json()["status"] == "accepted"
