"""MQTT over TLS through a real Mosquitto: with and without client certificates, and what a user is
told when the certificates do not fit. Messages are published through a plain listener beside it."""

import json

import pytest
from certificates import Authority
from conftest import Mosquitto, free_port, wait_until

MESSAGES = 2000


class TlsMosquitto(Mosquitto):
    def __init__(self, folder, certificate, key, authority=None):
        super().__init__(folder)
        self.tls_port = free_port()
        lines = f"listener {self.tls_port} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\n"
        if authority:
            lines += f"cafile {authority.ca_file}\nrequire_certificate true\n"
        self.config.write_text(self.config.read_text() + lines)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def make_broker(tmp_path):
    started = []

    def make(certificate, **options):
        folder = tmp_path / f"mosquitto-{len(started)}"
        folder.mkdir()
        started.append(TlsMosquitto(folder, *certificate, **options).start())
        return started[-1]

    yield make
    for broker in started:
        broker.stop()


def source(broker, tls, **config):
    return [{"name": "city", "type_name": "mqtt",
             "config": {"broker": "127.0.0.1", "port": broker.tls_port,
                        "topics": ["smartcity/sensors/#"], "tls": tls, **config}}]


def check_delivers(broker, make_service, simulate, tls, **config):
    service = make_service(broker.port, sources=source(broker, tls, **config))
    service.wait_log("connected")
    simulate(broker.port, "--count", str(MESSAGES), "--rate", "0", "--qos", "1", "--faults", "0")
    wait_until(lambda: service.metric("ingestor_messages_received_total") >= MESSAGES,
               "all to arrive")
    service.stop()
    assert service.seqs() == list(range(1, MESSAGES + 1))


def check_says(broker, make_service, tls, text):
    """The sentence stands in the log and in health, and the service goes on."""
    service = make_service(broker.port, sources=source(broker, tls))
    service.wait_log(text)
    assert json.loads(service.get("/api/live"))
    assert service.alive()
    service.stop()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_server_certificate(authority, make_broker, make_service, simulate, version):
    broker = make_broker(authority.issue("server"))
    check_delivers(broker, make_service, simulate, {"ca_file": str(authority.ca_file)},
                   protocol_version=version)


def test_client_certificate(authority, make_broker, make_service, simulate):
    broker = make_broker(authority.issue("server"), authority=authority)
    certificate, key = authority.issue("client")
    check_delivers(broker, make_service, simulate,
                   {"ca_file": str(authority.ca_file), "cert_file": str(certificate),
                    "key_file": str(key)})


def test_other_name(authority, make_broker, make_service, simulate):
    broker = make_broker(authority.issue("named", "DNS:broker.example"))
    tls = {"ca_file": str(authority.ca_file)}
    check_says(broker, make_service, tls, "is for broker.example, not for 127.0.0.1")
    check_delivers(broker, make_service, simulate, {**tls, "server_name": "broker.example"})


def test_unverified(authority, make_broker, make_service, simulate):
    broker = make_broker(authority.issue("old", days=-1))
    check_delivers(broker, make_service, simulate, {"verify": False})


def test_missing_client_certificate(authority, make_broker, make_service):
    broker = make_broker(authority.issue("server"), authority=authority)
    check_says(broker, make_service, {"ca_file": str(authority.ca_file)},
               "tls.cert_file and tls.key_file")


def test_strange_client_certificate(authority, make_broker, make_service, tmp_path):
    broker = make_broker(authority.issue("server"), authority=authority)
    certificate, key = Authority(tmp_path / "strangers").issue("stranger")
    check_says(broker, make_service,
               {"ca_file": str(authority.ca_file), "cert_file": str(certificate),
                "key_file": str(key)}, "refused the client certificate")


def test_expired(authority, make_broker, make_service):
    broker = make_broker(authority.issue("old", days=-1))
    check_says(broker, make_service, {"ca_file": str(authority.ca_file)}, "expired on 20")


def test_unknown_authority(authority, make_broker, make_service, tmp_path):
    broker = make_broker(authority.issue("server"))
    other = Authority(tmp_path / "others")
    check_says(broker, make_service, {"ca_file": str(other.ca_file)},
               "not signed by an authority in")
    check_says(broker, make_service, {}, "set tls.ca_file to that authority's certificate")


def test_plain_port(authority, make_broker, make_service):
    broker = make_broker(authority.issue("server"))
    broker.tls_port = broker.port
    check_says(broker, make_service, {"ca_file": str(authority.ca_file)}, "is it a TLS port?")


def test_missing_file(mosquitto, make_service):
    mosquitto.tls_port = mosquitto.port
    check_says(mosquitto, make_service, {"ca_file": "/nowhere/ca.pem"},
               "tls.ca_file: cannot use /nowhere/ca.pem")
