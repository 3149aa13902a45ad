#!/usr/bin/env python3
"""Observed CoAP resources whose notifications come at a rate (bench/coap_flood.c), the service, and a
count of what is in the lake by an independent reader.

    bench/coap_bench.py --build build --resources 1000 --rate 10000 --seconds 60

A row is stored, or its notification was stale (RFC 7641 §3.4) and counted so; what is neither is
lost. CPU is that of the service, all threads, over the time in which notifications were sent (as
each resource is observed before, that is not in it; nor is the flush at the end).
Lateness is from the sender's clock, read as it makes the message, to the arrival time that
the service stores with it. The sender runs at real-time priority where that is allowed, so that its
rate does not depend on what else the machine does; the service does not. Needs duckdb (scripts/install-test-tools.sh).
"""
import argparse
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
import urllib.request

from measure import cpu_seconds, drain, first_port, metric, peak_mib, scrape, sync_latency_ms


def wait_line(stream, wanted):
    for line in stream:
        if line.strip() == wanted:
            return
    raise SystemExit(f"the sender ended before it was {wanted}")


def socket_drops():
    """Datagrams that the kernel threw away because a socket was full: {inode: count}."""
    drops = {}
    for name in ("udp", "udp6"):
        for line in pathlib.Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            drops[fields[9]] = int(fields[-1])
    return drops


def sockets_of(pid):
    found = set()
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def sources(options, ports):
    each = options.resources // len(ports)
    config = {"dataset": options.dataset} if options.dataset else {}
    return [{"name": f"flood {i}", "type_name": "coap",
             "config": {"host": "127.0.0.1", "port": port, **config,
                        "resources": [f"/r/{n}" for n in range(i * each, (i + 1) * each)]}}
            for i, port in enumerate(ports)]


def stale_count(api):
    """What the sources say of notifications older than the newest, and of responses nobody asked for."""
    total = {"stale_notifications": 0, "failed_requests": 0}
    with urllib.request.urlopen(f"http://127.0.0.1:{api}/api/data-sources", timeout=10) as answer:
        rows = json.load(answer)
    rows = rows["data"] if isinstance(rows, dict) else rows
    for row in rows:
        with urllib.request.urlopen(
                f"http://127.0.0.1:{api}/api/data-sources/{row['id']}/health", timeout=10) as answer:
            health = json.load(answer)
        health = health.get("data", health)
        for key in total:
            total[key] += int(health.get(key) or 0)
    return total


def start_service(options, folder, ports):
    config = folder / "ingestor.yaml"
    config.write_text(json.dumps({"sources": sources(options, ports)}))  # JSON is YAML
    environment = dict(
        os.environ, PORT="0", HOST="127.0.0.1", AUTO_REGISTER="false", LOG_FORMAT="text",
        JOURNAL_DIR=str(folder / "journal"), OBJECT_STORE_URL=f"file://{folder}/lake",
        METADATA_DB_PATH=str(folder / "metadata.db"),
        INGESTOR_DATABASE_URL=f"sqlite:///{folder}/ingestor.db", JOURNAL_SYNC=options.sync)
    service = subprocess.Popen([options.build / "ingestor", "serve", "--config", str(config)],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    api = first_port(service.stdout, r"listening on http://[^:]+:(\d+)")
    lines = []
    threading.Thread(target=drain, args=(service.stdout, lines), daemon=True).start()
    return service, api, lines


def settle(api, expected):
    """Waits until all has been received, or nothing more comes."""
    last, since = -1, time.monotonic()
    while True:
        count = metric(scrape(api), "ingestor_messages_received_total")
        if count != last:
            last, since = count, time.monotonic()
        if count >= expected or time.monotonic() - since > 5:
            return count
        time.sleep(0.2)


def run(options, folder):
    count = int(options.rate * options.seconds)
    sender = subprocess.Popen(
        [options.build / "coap_flood", "--resources", str(options.resources), "--servers",
         str(options.servers), "--rate", str(options.rate), "--count", str(count), "--payload",
         str(options.payload)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    service = None
    try:
        try:
            os.sched_setscheduler(sender.pid, os.SCHED_RR, os.sched_param(1))
        except OSError:
            print("the sender has no real-time priority: it may fall behind the rate")
        ports = [first_port(sender.stdout, r"port (\d+)") for _ in range(options.servers)]
        begin = time.perf_counter()
        service, api, lines = start_service(options, folder, ports)
        wait_line(sender.stdout, "ready")
        observed_s = time.perf_counter() - begin
        begin, cpu, sender_cpu = time.perf_counter(), cpu_seconds(service.pid), cpu_seconds(sender.pid)
        wait_line(sender.stdout, "done")
        seconds = time.perf_counter() - begin
        cpu, sender_cpu = cpu_seconds(service.pid) - cpu, cpu_seconds(sender.pid) - sender_cpu
        received = settle(api, count)
        drops = socket_drops()
        dropped = sum(drops.get(inode, 0) for inode in sockets_of(service.pid))
        counted = stale_count(api)
        peak = peak_mib(service.pid)
        sender.stdin.close()
        sent = json.loads(sender.stdout.read())
        sender.wait()
        service.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(service.pid, 0)
        service.returncode = status
        if status != 0:
            print("".join(lines[-20:]))
            raise SystemExit(f"the service ended with status {status}")
        return {"sent": sent, "seconds": seconds, "cpu": cpu / seconds * 100,
                "cpu_all": usage.ru_utime + usage.ru_stime, "sender_cpu": sender_cpu / seconds * 100,
                "received": received, "dropped": dropped, "peak": peak, "observed_s": observed_s,
                **counted}
    finally:
        for process in (sender, service):
            if process and process.returncode is None and process.poll() is None:
                process.kill()
                process.wait()


def count_back(folder):
    import duckdb
    rows = (f"read_parquet('{folder}/lake/bronze/ingestion_id=*/**/*.parquet', union_by_name=true)")
    total, distinct = duckdb.sql(f"select count(*), count(distinct (resource, seq)) from {rows} "
                                 "where seq > 0").fetchall()[0]
    late = duckdb.sql(
        "select quantile_cont(l, [0.5, 0.99, 1.0]) from (select (epoch_us(ingestion_timestamp::timestamptz) "
        f"- sent_us) / 1000.0 as l from {rows} where seq > 0)").fetchall()[0][0]
    files = sum(1 for _ in (folder / "lake").rglob("*.parquet"))
    return total, distinct, late, files


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=1, help="that share the resources")
    parser.add_argument("--rate", type=float, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--payload", type=int, default=200)
    parser.add_argument("--dataset", help="the option of that name; else one dataset a resource")
    parser.add_argument("--sync", default="always")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", type=pathlib.Path, help="where to work (default: a temporary one)")
    options = parser.parse_args()
    options.build = options.build.resolve()
    print("| resources (servers) | sent | per s | service, % of a core | sender | stale | lost | doubled |"
          " dropped by the socket | late p50, p99, max ms | peak MiB | files | observed after s |"
          " fdatasync ms | load |\n" + "|---" * 15 + "|")
    bad = False
    for _ in range(options.runs):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="ingestor-bench-", dir=options.folder))
        try:
            latency = sync_latency_ms(folder)
            got = run(options, folder)
            rows, distinct, late, files = count_back(folder)
            sent = got["sent"]["sent"]
            lost = sent - distinct - got["stale_notifications"]
            bad = bad or lost != 0 or rows != distinct
            print(f"| {options.resources} ({options.servers}) | {sent} | {sent / got['seconds']:,.0f} | "
                  f"{got['cpu']:.1f} | {got['sender_cpu']:.1f} | {got['stale_notifications']} | {lost} | "
                  f"{rows - distinct} | {got['dropped']} | "
                  f"{', '.join(f'{value:.1f}' for value in late)} | {got['peak']:.0f} | {files} | "
                  f"{got['observed_s']:.1f} | {latency:.2f} | {os.getloadavg()[0]:.1f} |", flush=True)
            if got["failed_requests"] or got["sent"]["refused"] or got["sent"]["resets"]:
                print(f"failed requests {got['errors']}, {got['sent']}")
        finally:
            shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
