"""The disk of the journal fills up while the store is away.

The service stops reading and says why, whatever else happens meanwhile (the broker goes and comes
back, somebody stops the service), and when the store is there again it goes on by itself: nothing
lost, nothing doubled. The journal, its spool and the databases are on a file system of their own,
which needs root; where nothing can be mounted the tests are skipped and say so.
"""

import json
import os
import threading
import time

import pytest
from conftest import Mosquitto, wait_until
from test_bad_environment import component, health, small_disk, start_again, wait_healthy, wait_stored
from test_exactly_once import RcloneS3

__all__ = ["small_disk"]  # a fixture
PAYLOAD_BYTES = 20000
MESSAGES = 12000  # 240 MB
FULL_S = float(os.environ.get("INGESTOR_TEST_FULL_SECONDS", "65"))
PRINTABLE = bytes(35 + b % 56 for b in range(256))  # and neither quote nor backslash


class Publisher:
    """Publishes in the background at QoS 1 what hardly compresses: it is as large in the spool."""

    def __init__(self, port):
        self.port, self.error = port, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            module = pytest.importorskip("paho.mqtt.client")
            client = module.Client(module.CallbackAPIVersion.VERSION2, protocol=5)
            client.connect("127.0.0.1", self.port)
            client.loop_start()
            for first in range(0, MESSAGES, 500):
                infos = []
                for seq in range(first, first + 500):
                    text = os.urandom(PAYLOAD_BYTES).translate(PRINTABLE).decode()
                    infos.append(client.publish("smartcity/sensors/1",
                                                json.dumps({"seq": seq, "pad": text}), qos=1))
                for info in infos:
                    info.wait_for_publish(120)
            client.disconnect()
            client.loop_stop()
        except BaseException as error:  # told by wait()
            self.error = error

    def wait(self):
        self.thread.join(300)
        assert not self.thread.is_alive() and self.error is None, self.error


@pytest.fixture
def broker(tmp_path):
    """It writes its memory to disk when it stops, not all the time: there is a lot of it."""
    folder = tmp_path / "broker"
    folder.mkdir()
    mosquitto = Mosquitto(folder)
    mosquitto.config.write_text(
        mosquitto.config.read_text().replace("autosave_interval 1\n", "autosave_interval 0\n"))
    yield mosquitto.start()
    mosquitto.stop()


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "s3"
    folder.mkdir()
    server = RcloneS3(folder)
    yield server
    if server.process:
        server.stop()


@pytest.fixture(params=os.environ.get("INGESTOR_TEST_FULL_DISKS", "100m").split(","))
def full(request, broker, store, make_service, small_disk):
    """A service whose disk has become full, and what is still to come waits with the broker."""
    disk = small_disk(request.param)
    service = make_service(broker.port, environment={
        "JOURNAL_DIR": str(disk / "journal"), "MINIO_ENDPOINT": f"127.0.0.1:{store.port}",
        "OBJECT_STORE_URL": "s3://lake",
        "MINIO_ACCESS_KEY": store.access_key, "MINIO_SECRET_KEY": store.secret_key,
        "INGESTOR_DATABASE_URL": f"sqlite:///{disk}/ingestor.db",
        "METADATA_DB_PATH": str(disk / "metadata.db"), "FLUSH_INTERVAL_SECONDS": "10"})
    service.wait_log("connected")
    publisher = Publisher(broker.port)
    wait_until(lambda: "MiB left" in component(service, "journal"),
               "health to tell of the full disk", 180)
    publisher.wait()
    return service


def store_returns(store, service):
    store.start()
    wait_stored(service, 1)
    wait_until(lambda: store.count_seqs() == MESSAGES, "all to be in the lake", 300)
    wait_healthy(service)
    service.stop()
    assert store.count_seqs() == MESSAGES


def test_it_goes_on(full, store):
    report = health(full)
    assert report["status"] == "degraded" and "file system" in report["components"]["journal"]
    store_returns(store, full)


def test_broker_restarts_meanwhile(full, broker, store):
    broker.stop()
    broker.start()
    time.sleep(FULL_S)
    broker.stop()
    broker.start()
    store_returns(store, full)


def test_stop_meanwhile(full, store):
    begin = time.monotonic()
    full.stop()
    assert time.monotonic() - begin < 15
    start_again(full)
    store_returns(store, full)
