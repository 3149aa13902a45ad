"""Very many topics, each a dataset of its own. Memory stays within its limit, files close at their
pace, grouping makes few of them, and every message lands once. Minutes pass in seconds: service and
broker run on fast clocks (tests/preload/time_lapse.c). bench/many_topics.py is the long run."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from conftest import find_program, wait_until

SPEED = 60
FIRST = 10**9


@pytest.fixture
def flood():
    """flood(environment, *options) starts a broker that sends; gives its port."""
    started = []

    def start(environment, *options):
        started.append(subprocess.Popen(
            [find_program("scripted_broker"), "--flood", *map(str, options)],
            env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True))
        return int(started[-1].stdout.readline().split()[1])

    yield start
    for process in started:
        process.kill()
        process.wait()


def fast_clocks():
    return {"LD_PRELOAD": find_program("time_lapse.so"), "TIME_LAPSE_SPEED": str(SPEED),
            "TIME_LAPSE_START_NS": str(time.monotonic_ns())}


def source(port, **config):
    return [{"name": "flood", "type_name": "mqtt", "config": {
        "broker": "127.0.0.1", "port": port, "topics": ["smartcity/sensors/#"], **config}}]


def wait_received(service, count):
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= count,
               f"{count} messages to come in")


def all_once(service, count):
    wait_until(lambda: service.metric("ingestor_source_messages_stored_total") >= count,
               f"{count} messages to be in the lake")
    service.stop()
    assert service.seqs() == list(range(FIRST, FIRST + count))


def peak_mib(service):
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def is_sanitized():
    cache = Path(find_program("ingestor")).parent / "CMakeCache.txt"
    return cache.exists() and re.search(r"^INGESTOR_SANITIZE:\w+=.", cache.read_text(), re.M)


def test_memory_keeps_its_limit(flood, make_service):
    """More new topics than there is room for, as fast as they are read."""
    topics, seen = 30000, 2500
    port = flood({}, "--topics", topics, "--messages", topics, "--window", 65535)
    service = make_service(port, sources=source(port),
                           environment={"MEMORY_LIMIT_BYTES": "64MiB",
                                        "FLUSH_INTERVAL_SECONDS": "10"})
    wait_received(service, seen)
    peak = peak_mib(service)
    assert is_sanitized() or peak <= 64
    service.stop()
    seqs = service.seqs()
    assert len(seqs) == len(set(seqs)) > 0


def test_files_close_at_their_pace(flood, make_service):
    topics, rounds, pace = 600, 5, 2
    clocks = fast_clocks()
    port = flood(clocks, "--topics", topics, "--messages", topics * rounds, "--rate", topics // 60)
    service = make_service(port, sources=source(port), environment={
        **clocks, "FLUSH_FILES_PER_SECOND_MAX": str(pace), "FLUSH_INTERVAL_SECONDS": "10"})
    began = time.monotonic()
    wait_received(service, topics * rounds)
    files = service.metric("ingestor_files_written_total")
    seconds = (time.monotonic() - began) * SPEED
    assert files <= pace * (seconds + 60)  # one for each message would be five times as many
    all_once(service, topics * rounds)
    assert len(service.files()) < topics * rounds / 2


def test_grouping_makes_few_files(flood, make_service):
    topics, rounds = 3000, 3
    clocks = fast_clocks()
    port = flood(clocks, "--topics", topics, "--messages", topics * rounds, "--rate", topics // 60)
    service = make_service(port, sources=source(port, dataset_levels=3), environment={
        **clocks, "MEMORY_LIMIT_BYTES": "64MiB", "FLUSH_INTERVAL_SECONDS": "10"})
    began = time.monotonic()
    wait_received(service, topics * rounds)
    seconds = (time.monotonic() - began) * SPEED
    peak = peak_mib(service)
    assert is_sanitized() or peak <= 64
    all_once(service, topics * rounds)
    assert len(service.files()) <= 4 * (seconds + 60) / 10  # four kinds of sensors
