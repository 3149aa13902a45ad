"""HTTP push across kill -9: clients repeat each post under its Idempotency-Key until it is taken, the
service is killed again and again, and every record is in the lake once.

INGESTOR_TEST_PUSH_KILLS says how often (10); posts are made until the last kill is over.
"""

import concurrent.futures
import http.client
import json
import os
import random
import threading
import time

import pytest
from conftest import PATIENCE_S, free_port, wait_until

KILLS = int(os.environ.get("INGESTOR_TEST_PUSH_KILLS", "10"))
CLIENTS = 4
LARGE = 4000  # records of a post that takes several blocks of the journal
FIRST_OF_CLIENT = 1_000_000_000


class Client:
    """Posts under keys of its own; counts what was taken, and how often a post had to be repeated."""

    def __init__(self, service, path, number):
        self.service, self.path, self.number = service, path, number
        self.chance = random.Random(number)
        self.next_seq = number * FIRST_OF_CLIENT
        self.taken = 0
        self.repeats = 0

    def post(self, body, key):
        """The status, or None when the connection broke before there was one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", self.path, body, {"Content-Type": "application/x-ndjson",
                                                         "Idempotency-Key": key})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None, None
        finally:
            connection.close()

    def post_until_taken(self, number):
        count = LARGE if number % 20 == 9 else self.chance.randrange(1, 50)
        body = "\n".join(json.dumps({"seq": self.next_seq + i, "client": f"c{self.number}",
                                     "note": "x" * 100}) for i in range(count))
        self.next_seq += count
        end = time.monotonic() + PATIENCE_S
        while True:
            status, answer = self.post(body, f"{self.number}-{number}")
            if status == 202:
                break
            # it is just starting, or a former try of this very post is on its way to the disk
            assert status in (None, 409, 429, 503), (status, answer)
            assert time.monotonic() < end, "the post was never taken"
            self.repeats += 1
            time.sleep(0.02)
        assert answer["data"]["count"] == count
        self.taken += count
        if number % 7 == 0:  # a client that did not see the answer
            self.post(body, f"{self.number}-{number}")

    def run(self, stop):
        number = 0
        while not stop.is_set():
            self.post_until_taken(number)
            number += 1


def seqs(service):
    parquet = pytest.importorskip("pyarrow.parquet")
    return sorted(seq for file in service.files()
                  for seq in parquet.ParquetFile(file).read(columns=["seq"])["seq"].to_pylist())


def test_killed_while_clients_post(make_service):
    service = make_service(free_port(), sources=[{"name": "hook", "type_name": "http_push",
                                                  "config": {}}])
    source = wait_until(lambda: json.loads(service.get("/api/data-sources"))["data"], "the source")
    clients = [Client(service, f"/api/ingest/{source[0]['ingestion_id']}", number)
               for number in range(1, CLIENTS + 1)]
    chance, stop = random.Random(3), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        runs = [pool.submit(client.run, stop) for client in clients]
        try:
            for _ in range(KILLS):
                before = sum(client.taken for client in clients)
                wait_until(lambda: sum(client.taken for client in clients) > before or
                           any(run.done() for run in runs), "posts to be taken")
                time.sleep(chance.uniform(0, 0.2))
                service.kill()
                service.start()
        finally:
            stop.set()
        for run in runs:
            run.result()
    service.stop()
    expected = sorted(client.number * FIRST_OF_CLIENT + i
                      for client in clients for i in range(client.taken))
    found = seqs(service)
    print(f"{len(expected)} records taken, {sum(client.repeats for client in clients)} repeats")
    assert sum(client.repeats for client in clients) >= KILLS  # the kills were noticed
    assert len(found) == len(set(found)), f"{len(found) - len(set(found))} doubled"
    assert found == expected, f"{len(set(expected) - set(found))} lost"
