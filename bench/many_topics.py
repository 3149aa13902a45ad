#!/usr/bin/env python3
"""Very many topics: memory against MEMORY_LIMIT_BYTES, files, CPU, and how fast the API answers.

    bench/many_topics.py --topics 30000 --rounds 1 --limit 67108864
    bench/many_topics.py --topics 100000 --rounds 120 --round-seconds 60 --speed 10

The scripted broker sends one message of each topic in a round, as fast as the service reads or
spread over --round-seconds. --speed: broker and service run on clocks that are that much faster
(tests/preload/time_lapse.c), so that hours pass in minutes; the disk and the processors are as slow
as ever, so a run that keeps up at 10 keeps up at 1. Times of answers and CPU are real ones.

Prints a line now and then, then one row for bench/RESULTS.md. --count: reads the lake back.
"""
import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from end_to_end import count_back
from measure import cpu_seconds, drain, first_port, metric, peak_mib, resident_mib

PAGES = "/api/metrics", "/api/partitions", "/api/health"
LONG = "/api/metadata/datasets", "/api/metadata/topics", "/api/metadata/stats"  # once, at the end
WINDOW_S = 60  # of the clocks that run faster


class Api:
    def __init__(self, port):
        self.port = port
        self.times = {}
        self.sizes = {}

    def get(self, page):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        began = time.perf_counter()
        connection.request("GET", page)
        body = connection.getresponse().read()
        self.times.setdefault(page, []).append((time.perf_counter() - began) * 1000)
        self.sizes[page] = len(body)
        connection.close()
        return body.decode()

    def figures(self, page):
        times = sorted(self.times[page])
        return f"{times[len(times) // 2]:.0f} / {times[-1]:.0f}"


def most_a_second(seen):
    """Of (seconds, files): the most files in WINDOW_S, a second."""
    most, first = 0, 0
    for seconds, files in seen:
        while seen[first][0] < seconds - WINDOW_S:
            first += 1
        if first > 0:
            since, before = seen[first - 1]
            most = max(most, (files - before) / (seconds - since))
    return most


def run(options, folder):
    environment = dict(os.environ)
    if options.speed > 1:
        environment.update(LD_PRELOAD=str(options.build / "time_lapse.so"),
                           TIME_LAPSE_SPEED=str(options.speed),
                           TIME_LAPSE_START_NS=str(time.monotonic_ns()))
    total = options.topics * options.rounds
    rate = options.topics / options.round_seconds if options.round_seconds else 0
    broker = subprocess.Popen(
        [options.build / "scripted_broker", "--flood", "--qos", "1", "--messages", str(total),
         "--topics", str(options.topics), "--window", "65535", "--rate", str(round(rate)),
         "--port", "0"], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    service = None
    try:
        port = first_port(broker.stdout, r"port (\d+)")
        threading.Thread(target=drain, args=(broker.stdout, []), daemon=True).start()
        config = {"broker": "127.0.0.1", "port": port, "qos": 1, "topics": ["smartcity/sensors/#"]}
        if options.levels:
            config["dataset_levels"] = options.levels
        path = folder / "ingestor.yaml"
        path.write_text(json.dumps(
            {"sources": [{"name": "flood", "type_name": "mqtt", "config": config}]}))
        environment.update(
            PORT="0", HOST="127.0.0.1", AUTO_REGISTER="false", LOG_FORMAT="text",
            JOURNAL_DIR=str(folder / "journal"), OBJECT_STORE_URL=f"file://{folder}/lake",
            METADATA_DB_PATH=str(folder / "metadata.db"),
            INGESTOR_DATABASE_URL=f"sqlite:///{folder}/ingestor.db")
        if options.limit:
            environment["MEMORY_LIMIT_BYTES"] = str(options.limit)
        if options.files:
            environment["FLUSH_FILES_PER_SECOND_MAX"] = str(options.files)
        service = subprocess.Popen([options.build / "ingestor", "serve", "--config", str(path)],
                                   env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        lines = []
        api_port = first_port(service.stdout, r"listening on http://[^:]+:(\d+)")
        threading.Thread(target=drain, args=(service.stdout, lines), daemon=True).start()
        return watch(options, Api(api_port), service, total, lines, folder)
    finally:
        for process in (broker, service):
            if process and process.poll() is None:
                process.kill()
                process.wait()


def watch(options, api, service, total, lines, folder):
    began = time.perf_counter()
    told = began
    received = 0
    changed = began
    seen = []
    while received < total:
        time.sleep(options.pause)
        if service.poll() is not None:
            raise SystemExit("".join(lines[-20:]))
        text = {page: api.get(page) for page in PAGES}["/api/metrics"]
        now = time.perf_counter()
        count = metric(text, "ingestor_messages_received_total")
        seen.append(((now - began) * options.speed, metric(text, "ingestor_files_written_total")))
        changed = now if count != received else changed
        received = count
        if now - changed > 120:
            raise SystemExit(f"stuck at {received} of {total}\n" + "".join(lines[-20:]))
        if now - told >= options.tell or received >= total:
            told = now
            print(f"{(now - began) * options.speed:7.0f} s  {received:10.0f} received  "
                  f"{metric(text, 'ingestor_files_written_total'):8.0f} files  "
                  f"{resident_mib(service.pid):6.0f} MiB, peak {peak_mib(service.pid):.0f}  "
                  f"{cpu_seconds(service.pid):6.1f} CPU-s  "
                  + "  ".join(f"{page} {api.times[page][-1]:.0f} ms" for page in PAGES),
                  flush=True)
    seconds = time.perf_counter() - began
    files = metric(api.get("/api/metrics"), "ingestor_files_written_total")
    peak = peak_mib(service.pid)  # before the whole lists, which are as large as they are
    for page in LONG:
        api.get(page)
        print(f"{page}: {api.times[page][0]:.0f} ms, {api.sizes[page]:,} bytes", flush=True)
    for dataset in json.loads(api.get("/api/partitions"))["data"][:50]:
        for page in "/api/data/", "/api/metadata/datasets/":
            name = page + urllib.parse.quote(dataset, safe="")
            api.get(name)
            api.times.setdefault(page + "{id}", []).append(api.times[name][0])
    for page in "/api/data/{id}", "/api/metadata/datasets/{id}":
        print(f"{page}, of 50: {api.figures(page)} ms", flush=True)
    cpu = cpu_seconds(service.pid)
    service.send_signal(signal.SIGTERM)
    began = time.perf_counter()
    service.wait()
    stop_s = time.perf_counter() - began
    stopped = sum(1 for _ in folder.glob("lake/**/*.parquet"))
    if service.returncode != 0:
        print("".join(lines[-20:]))
    return [f"{total:,}", f"{seconds * options.speed:.0f}", f"{total / seconds:,.0f}",
            f"{cpu / total * 1e6:.0f}", f"{peak:.0f}", f"{files:,.0f}",
            f"{files / seconds / options.speed:.0f} / {most_a_second(seen):.0f}", *[api.figures(page) for page in PAGES],
            f"{stop_s:.1f}, status {service.returncode}, {stopped:,} files by then"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--topics", type=int, default=30000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--round-seconds", type=float, default=0, help="0: as fast as it goes")
    parser.add_argument("--speed", type=int, default=1, help="how much faster the clocks run")
    parser.add_argument("--limit", type=int, default=0, help="MEMORY_LIMIT_BYTES")
    parser.add_argument("--levels", type=int, default=0, help="dataset_levels")
    parser.add_argument("--files", type=int, default=0, help="FLUSH_FILES_PER_SECOND_MAX")
    parser.add_argument("--pause", type=float, default=0.5, help="real seconds between two looks")
    parser.add_argument("--tell", type=float, default=5, help="real seconds between two lines")
    parser.add_argument("--count", action="store_true", help="read the lake back")
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    options.build = options.build.resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ingestor-bench-", dir=options.folder))
    try:
        row = run(options, folder)
        bad = False
        if options.count:
            rows, distinct, _, _ = count_back(folder)
            bad = distinct != options.topics * options.rounds or rows != distinct
            row.append(f"{options.topics * options.rounds - distinct}, {rows - distinct}")
        print("| messages | seconds | msg/s (real) | CPU µs each | peak MiB | files | files/s, mean / most | "
              + " | ".join(f"`{page}` ms, median / worst" for page in PAGES)
              + " | stop s |" + (" lost, doubled |" if options.count else ""))
        print("| " + " | ".join(row) + " |")
        return 1 if bad else 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
