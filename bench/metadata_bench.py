#!/usr/bin/env python3
"""The metadata routes and what metadata costs, with very many datasets and the service ingesting as
fast as it can.

    bench/metadata_bench.py [--build build] [--datasets 10000] [--rate 0] [--seconds 20]

The broker is `scripted_broker --flood` on the same machine, QoS 1, a dataset for each topic. First
all datasets get their first file; then CPU is counted by thread for some seconds without a reader;
then this process reads, one request at a time over a kept connection, so that its own cost and its
turn on the cores count in every figure: how late it wakes from its pauses is measured too.
`--quiet` reads once more when the broker has been stopped. Prints tables for bench/RESULTS.md.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter

from api_bench import Client, flood, percentile, received, times_text

ONE = ("", "/schema", "/evolution", "/quality")
LISTS = ("datasets", "current", "topics", "stats")


def thread_seconds(pid):
    """CPU by the name of the thread, those of a kind together."""
    seconds = Counter()
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        fields = fields.split()
        seconds[name.rstrip("0123456789-")] += \
            (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def fill(client, options):
    """Until each dataset is in the database."""
    began = time.time()
    while True:
        known = json.loads(client.get("/api/metadata/stats")[1])["data"]["stats"]["dataset_count"]
        if known >= options.datasets:
            return time.time() - began
        if time.time() - began > options.fill_seconds:
            raise SystemExit(f"{known} of {options.datasets} datasets after {options.fill_seconds} s")
        time.sleep(1)


def threads(service, seconds):
    pid = service.process.pid
    before, count, began = thread_seconds(pid), received(service), time.time()
    time.sleep(seconds)
    passed = time.time() - began
    spent = {name: now - before[name] for name, now in thread_seconds(pid).items()}
    total = sum(spent.values())
    rows = [("received without reads", f"{(received(service) - count) / passed:,.0f} msg/s, "
             f"{100 * total / passed:.0f} % of a core")]
    return rows + [(f"of it thread `{name}`", f"{100 * part / total:.2f} %")
                   for name, part in sorted(spent.items(), key=lambda x: -x[1]) if part > 0]


def timed(client, path, times):
    status, body, taken = client.get(path)
    if status != 200:
        raise SystemExit(f"{path}: {status} {body[:200]}")
    times.append(taken)
    return body


def reads(service, options, what):
    client, rng, late = Client(service.port), random.Random(1), []
    ids = [dataset["ingestion_id"] for dataset in json.loads(
        client.get("/api/metadata/datasets")[1])["data"]["datasets"]]
    rows, every = [], []
    for end in ONE:
        times = []
        until = time.time() + options.seconds / len(ONE)
        while time.time() < until:
            timed(client, f"/api/metadata/datasets/{rng.choice(ids)}{end}", times)
            slept = time.perf_counter()
            time.sleep(options.pause)
            late.append(time.perf_counter() - slept - options.pause)
        every += times
        rows.append((f"GET /api/metadata/datasets/{{id}}{end}, {what}", times_text(times)))
    rows.append((f"all of one dataset, {what}", times_text(every)))
    rows.append((f"the reader woken late, {what}", times_text(late).replace("requests", "pauses")))
    for name in LISTS:
        times, body = [], b""
        for _ in range(options.lists):
            body = timed(client, f"/api/metadata/{name}", times)
        rows.append((f"GET /api/metadata/{name}, {len(body) / 1e6:.1f} MB, {what}",
                     f"median {percentile(times, 50):.0f}, max {max(times) * 1000:.0f} ms"))
    return rows


def show(rows):
    for what, measured in rows:
        print(f"| {what} | {measured} |", flush=True)


def run(options, folder):
    os.environ["FLUSH_FILES_PER_SECOND_MAX"] = str(options.files_per_second)
    if options.quality_seconds:
        os.environ["METADATA_QUALITY_SECONDS"] = str(options.quality_seconds)
    databases = pathlib.Path(tempfile.mkdtemp(prefix="ingestor-bench-", dir=options.databases))
    try:
        measure(options, folder, databases)
    finally:
        shutil.rmtree(databases)


@contextlib.contextmanager
def full_rate(service, options):
    """Another broker in place of the one that filled."""
    service.broker.kill()
    service.broker.wait()
    broker = subprocess.Popen(
        [options.build / "scripted_broker", "--flood", "--qos", "1", "--rate", str(options.rate),
         "--topics", str(options.datasets), "--messages", str(options.messages), "--port",
         str(service.broker_port)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        count = received(service)
        while received(service) < count + 100000:
            time.sleep(0.2)
        yield
        if broker.poll() is not None:
            raise SystemExit("the broker had no more to send: --messages")
    finally:
        broker.stdin.close()
        broker.kill()
        broker.wait()


def measure(options, folder, databases):
    with flood(options, folder, options.fill_rate, options.datasets, options.messages,
               databases) as service:
        client = Client(service.port)
        taken = fill(client, options)
        show([(f"{options.datasets:,} datasets in the database, at {options.fill_rate:,} msg/s, "
               "after", f"{taken:.0f} s")])
        with full_rate(service, options):
            time.sleep(options.settle)
            show(threads(service, options.seconds))
            show(reads(service, options, "while ingesting"))
        if options.quiet:
            time.sleep(options.settle)
            show(reads(service, options, "at rest"))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--datasets", type=int, default=10000)
    parser.add_argument("--rate", type=int, default=0, help="messages a second; 0: all it takes")
    parser.add_argument("--fill-rate", type=int, default=20000)
    parser.add_argument("--settle", type=float, default=15, help="seconds before it is measured")
    parser.add_argument("--messages", type=int, default=1000000000)
    parser.add_argument("--seconds", type=float, default=20, help="of each part")
    parser.add_argument("--pause", type=float, default=0.005, help="between two reads, seconds")
    parser.add_argument("--lists", type=int, default=10, help="reads of each list")
    parser.add_argument("--files-per-second", type=int, default=50)
    parser.add_argument("--quality-seconds", type=int, default=0)
    parser.add_argument("--fill-seconds", type=float, default=600)
    parser.add_argument("--databases", help="folder for the catalog of columns: in memory, 10,000 "
                        "first pins do not wait for the disk")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    options.build = options.build.resolve()
    print("| what | measured |\n|---|---|", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ingestor-bench-"))
    try:
        run(options, folder)
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
