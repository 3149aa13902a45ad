#!/usr/bin/env python3
"""The API's times: start to ready, reads while the service ingests, the metrics of many partitions,
and how long a message takes from its publication to being visible in /api/data.

    bench/api_bench.py [--build build] [--only ready reads metrics visible] [--seconds 20]

The broker is `scripted_broker --flood --rate N` on the same machine. The reader is this process,
one request at a time over one kept connection for each route, so that its own cost counts in every
figure. `reads` counts what was received with and without reads, so that a read that costs
throughput shows; what is sent is QoS 1, and a message counts when it is in the service's counter.
What the machine itself adds (others' load) is measured in the same run: how late this process wakes
from its pauses. Prints a table for bench/RESULTS.md.
"""
import argparse
import contextlib
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
from datetime import datetime

from measure import cpu_seconds, drain, first_port, metric, scrape

TOPIC = "smartcity/sensors"


class Service:
    def __init__(self, options, folder, source=None, databases=None):
        databases = databases or folder
        config = folder / "ingestor.yaml"
        config.write_text(json.dumps({"sources": [source] if source else []}))
        environment = dict(
            os.environ, PORT="0", HOST="127.0.0.1", AUTO_REGISTER="false", LOG_FORMAT="text",
            JOURNAL_DIR=str(folder / "journal"), OBJECT_STORE_URL=f"file://{folder}/lake",
            METADATA_DB_PATH=str(folder / "metadata.db"),
            INGESTOR_DATABASE_URL=f"sqlite:///{databases}/ingestor.db")
        self.lines = []
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [options.build / "ingestor", "serve", "--config", str(config)], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = first_port(self.process.stdout, r"listening on http://[^:]+:(\d+)")
        threading.Thread(target=drain, args=(self.process.stdout, self.lines), daemon=True).start()

    def ready_s(self):
        """When it answered that it is ready, seconds after it was started."""
        client = Client(self.port)
        while client.get("/api/ready")[0] != 200:
            if self.process.poll() is not None:
                raise SystemExit("".join(self.lines[-20:]))
            time.sleep(0.001)
        return time.perf_counter() - self.began

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


class Client:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def get(self, path):
        """Status, body and seconds."""
        began = time.perf_counter()
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        return answer.status, body, time.perf_counter() - began


@contextlib.contextmanager
def flood(options, folder, rate, topics, messages, databases=None):
    """A broker at that rate and a service that reads from it."""
    broker = subprocess.Popen(
        [options.build / "scripted_broker", "--flood", "--qos", "1", "--rate", str(rate), "--topics",
         str(topics), "--messages", str(messages), "--port", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    service = None
    try:
        port = first_port(broker.stdout, r"port (\d+)")
        threading.Thread(target=drain, args=(broker.stdout, []), daemon=True).start()
        service = Service(options, folder, {
            "name": "flood", "type_name": "mqtt",
            "config": {"broker": "127.0.0.1", "port": port, "qos": 1, "topics": [TOPIC + "/#"]}},
            databases)
        service.broker, service.broker_port = broker, port
        service.ready_s()
        while received(service) == 0:
            time.sleep(0.05)
        yield service
    finally:
        if service:
            service.stop()
        broker.stdin.close()
        broker.kill()
        broker.wait()


def received(service):
    return metric(scrape(service.port), "ingestor_messages_received_total")


def dataset_id(service):
    """Of the first topic."""
    ids = json.loads(Client(service.port).get("/api/partitions")[1])["data"]
    return ids[0]


def percentile(times, percent):
    times = sorted(times)
    return times[min(len(times) - 1, len(times) * percent // 100)] * 1000


def times_text(times):
    return (f"p50 {percentile(times, 50):.1f}, p99 {percentile(times, 99):.1f}, "
            f"max {max(times) * 1000:.1f} ms ({len(times)} requests)")


def ready(options, folder):
    times = []
    for i in range(options.starts):
        place = folder / f"start{i}"
        place.mkdir()
        service = Service(options, place)
        times.append(service.ready_s())
        service.stop()
    return [(f"start to ready, clean journal, {options.starts} starts",
             f"median {percentile(times, 50):.0f}, worst {max(times) * 1000:.0f} ms")]


def pace(service, work):
    """Messages a second, and per cent of a core, while work runs."""
    before, cpu, began = received(service), cpu_seconds(service.process.pid), time.perf_counter()
    work()
    passed = time.perf_counter() - began
    return ((received(service) - before) / passed,
            100 * (cpu_seconds(service.process.pid) - cpu) / passed)


def reads(options, folder):
    messages = int(options.rate * (2 * options.seconds + 60))
    with flood(options, folder, options.rate, 100, messages) as service:
        one = dataset_id(service)
        routes = ["/api/health", "/api/ready", "/api/partitions", "/api/data?limit_per_partition=1",
                  f"/api/data/{one}?limit=100", "/api/data-sources",
                  "/api/data-sources/status/overview", "/api/data-sources/1/health",
                  "/api/metadata/stats", "/api/metadata/current", "/api/metrics"]
        times = {route: [] for route in routes}
        bad = {}
        woken_late = []

        def read_all():
            end = time.perf_counter() + options.seconds
            client = Client(service.port)
            while time.perf_counter() < end:
                for route in routes:
                    status, _, taken = client.get(route)
                    if status == 200:
                        times[route].append(taken)
                    else:
                        bad[route] = status
                    slept = time.perf_counter()
                    time.sleep(options.pause)
                    woken_late.append(time.perf_counter() - slept - options.pause)

        time.sleep(3)
        quiet, quiet_cpu = pace(service, lambda: time.sleep(options.seconds))
        busy, busy_cpu = pace(service, read_all)
    rows = [("received without reads", f"{quiet:,.0f} msg/s, {quiet_cpu:.0f} % of a core"),
            ("received with reads", f"{busy:,.0f} msg/s, {busy_cpu:.0f} % of a core")]
    rows += [(f"GET {route}", times_text(taken) if taken else f"status {bad[route]}")
             for route, taken in times.items()]
    every = [taken for list_ in times.values() for taken in list_]
    return rows + [(f"all reads at {options.rate:,} msg/s", times_text(every)),
                   ("the same run: this process woken late",
                    times_text(woken_late).replace("requests", "pauses"))]


def metrics(options, folder):
    with flood(options, folder, 20000, 1000, 20000 * 5) as service:
        while received(service) < 20000 * 5:
            time.sleep(0.2)
        time.sleep(2)
        client = Client(service.port)
        times = []
        for _ in range(100):
            _, body, taken = client.get("/api/metrics")
            times.append(taken)
            time.sleep(0.02)
        series = body.count(b"ingestor_buffer_size_messages{")
    return [(f"GET /api/metrics, {series} partitions, {len(body) // 1024} KiB", times_text(times))]


def visible(options, folder):
    rate = 10000
    with flood(options, folder, rate, 100, int(rate * (options.seconds + 60))) as service:
        one = dataset_id(service)
        client = Client(service.port)
        time.sleep(2)
        seen, delays = None, []
        end = time.time() + options.seconds
        while time.time() < end:
            _, body, _ = client.get(f"/api/data/{one}?limit=100")
            now = time.time()
            rows = json.loads(body)["data"]
            for row in rows:
                if seen is not None and row["seq"] > seen:
                    published = datetime.fromisoformat(row["timestamp"]).timestamp()
                    delays.append(now - published)
            seen = max(row["seq"] for row in rows)
            time.sleep(0.002)
    return [(f"publish to visible in /api/data at {rate:,} msg/s",
             times_text(delays).replace("requests", "messages"))]


PARTS = {"ready": ready, "metrics": metrics, "visible": visible, "reads": reads}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=200000, help="of `reads`, messages a second")
    parser.add_argument("--pause", type=float, default=0.005, help="between two reads, seconds")
    parser.add_argument("--starts", type=int, default=10)
    options = parser.parse_args()
    options.build = options.build.resolve()
    print("| what | measured |\n|---|---|", flush=True)
    for part in options.only:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ingestor-bench-"))
        try:
            for what, measured in PARTS[part](options, folder):
                print(f"| {what} | {measured} |", flush=True)
        finally:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
