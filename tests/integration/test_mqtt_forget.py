"""A source that is deleted leaves no session behind at a real Mosquitto; one that is stopped does."""

import signal
import threading

import pytest
from conftest import wait_until
from test_registry import call, good, mqtt

TOPIC = "lab/t"


@pytest.fixture
def paho():
    return pytest.importorskip("paho.mqtt.client")


def client_of(paho, client_id):
    return paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)


def has_session(paho, port, client_id):
    """Whether the broker answers with session present 1, and leaves it as it was."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    answers, answered = [], threading.Event()
    client = client_of(paho, client_id)
    properties = Properties(PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600

    def on_connect(_client, _data, flags, *_):
        answers.append(flags.session_present)
        answered.set()

    client.on_connect = on_connect
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    client.loop_start()
    assert answered.wait(60)
    client.disconnect()
    client.loop_stop()
    return answers[0]


@pytest.fixture
def service(mosquitto, make_service):
    service = make_service(mosquitto.port, environment={"AUTO_REGISTER": "false"})
    wait_until(lambda: call(service, "GET", "/api/data-sources")[0] == 200, "the registry to be read")
    return service


def begin(service, port, **config):
    source = good(service, "POST", "/api/data-sources", mqtt(port, **config))
    path = f"/api/data-sources/{source['id']}"
    good(service, "POST", f"{path}/start")
    return path, good(service, "GET", f"{path}/health")["client_id"]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_deleted(mosquitto, service, paho, version):
    path, client_id = begin(service, mosquitto.port, protocol_version=version)
    good(service, "DELETE", path)
    assert not has_session(paho, mosquitto.port, client_id)
    service.stop()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_stopped(mosquitto, service, paho, version):
    path, client_id = begin(service, mosquitto.port, protocol_version=version)
    good(service, "POST", f"{path}/stop")
    assert has_session(paho, mosquitto.port, client_id)
    service.stop()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_deleted_while_stopped(mosquitto, service, paho, version):
    """Nobody waits for it: the log tells when it is done."""
    path, client_id = begin(service, mosquitto.port, protocol_version=version)
    good(service, "POST", f"{path}/stop")
    good(service, "DELETE", path)
    log = mosquitto.folder / "mosquitto.log"
    wait_until(lambda: log.read_text().count(f"Client {client_id} disconnected") == 2,
               "it to come and leave again")
    assert not has_session(paho, mosquitto.port, client_id)
    assert "could not be ended" not in service.log()
    service.stop()


def test_deleted_in_back_off(mosquitto, service, paho):
    path, client_id = begin(service, mosquitto.port)
    mosquitto.stop()
    wait_until(lambda: good(service, "GET", path)["status"] == "error", "the source to fail")
    mosquitto.start()
    good(service, "DELETE", path)
    wait_until(lambda: not has_session(paho, mosquitto.port, client_id), "the session to end")
    service.stop()


def test_deleted_while_the_broker_is_away(mosquitto, service):
    """It is gone at once, the log says what stays, and one of the same name can be made again."""
    path, _ = begin(service, mosquitto.port)
    good(service, "POST", f"{path}/stop")
    mosquitto.stop()
    good(service, "DELETE", path)
    assert call(service, "GET", path)[0] == 404
    service.wait_log("its session could not be ended")
    mosquitto.start()
    begin(service, mosquitto.port)
    service.stop()


def test_deleted_while_the_broker_is_mute(mosquitto, service):
    """The answer comes before the time for it is over, which the log tells."""
    path, _ = begin(service, mosquitto.port)
    good(service, "POST", f"{path}/stop")
    mosquitto.process.send_signal(signal.SIGSTOP)
    good(service, "DELETE", path)
    service.wait_log("no answer within the time")
    mosquitto.process.send_signal(signal.SIGCONT)
    log = service.log()
    assert log.index(f"DELETE {path} 200") < log.index("no answer within the time")
    service.stop()


def test_nothing_is_stranded(mosquitto, service, simulate):
    """Of two members of one group one is deleted: the other gets all."""
    group = {"shared_group": "lab", "topics": ["smartcity/sensors/#"]}
    path, _ = begin(service, mosquitto.port, name="one", **group)
    begin(service, mosquitto.port, name="two", **group)
    good(service, "DELETE", path)
    simulate(mosquitto.port, "--count", "1000", "--rate", "0", "--qos", "1", "--faults", "0")
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= 1000, "all to arrive")
    service.stop()
    assert service.seqs() == list(range(1, 1001))


def test_deleted_under_load(mosquitto, service, simulate):
    """What the deleted member had is taken before it leaves: no message is lost between the two."""
    group = {"shared_group": "lab", "topics": ["smartcity/sensors/#"]}
    path, _ = begin(service, mosquitto.port, name="one", **group)
    begin(service, mosquitto.port, name="two", **group)
    results = []
    publishing = threading.Thread(target=lambda: results.append(simulate(
        mosquitto.port, "--count", "20000", "--rate", "10000", "--qos", "1", "--faults", "0")))
    publishing.start()
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= 2000, "some to arrive")
    good(service, "DELETE", path)
    publishing.join()
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= 20000, "all to arrive")
    service.stop()
    assert service.seqs() == list(range(1, 20001))


def test_fewer_connections(mosquitto, service, paho):
    path, _ = begin(service, mosquitto.port, client_id="mine", connections=3)
    good(service, "PUT", path, {"config": mqtt(mosquitto.port, client_id="mine",
                                               connections=1)["config"]})

    def connected_again():
        health = good(service, "GET", f"{path}/health")
        return health.get("healthy") and health.get("connections") == 1

    wait_until(connected_again, "the source to be restarted")
    for client_id in ("mine-1", "mine-2"):  # a probe would take the session over: the log tells when
        wait_until(lambda name=client_id: (mosquitto.folder / "mosquitto.log").read_text().count(
            f"Client {name} disconnected") == 2, f"{client_id} to come and leave again")
        assert not has_session(paho, mosquitto.port, client_id)
    service.stop()


def test_health(mosquitto, service):
    path, client_id = begin(service, mosquitto.port)
    health = good(service, "GET", f"{path}/health")
    expected = {"status": "active", "healthy": True, "running": True, "broker": "127.0.0.1",
                "port": mosquitto.port, "topics": ["lab/#"], "use_shared_subscription": True,
                "shared_group": "ingestor-group", "tls": False, "websocket": None,
                "protocol_version": "5", "connections": 1, "client_id": client_id}
    assert {name: health.get(name, "absent") for name in expected} == expected
    assert health["pod_name"]
    service.stop()
