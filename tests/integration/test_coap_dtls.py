"""CoAP sources over DTLS with a key, against a server that shares no code with ours: aiocoap, whose
DTLS is tinydtls, with the only cipher that small devices have (TLS_PSK_WITH_AES_128_CCM_8, which
RFC 7252 §9.1.3.1 demands). DTLS with libcoap's server: test_coap.py and test_coap_libcoap.py."""

import pytest

from coap_peers import (AioServer, coap_source, health, peer, run, source_health,
                        wait_registered, wait_seq, wait_well)
from conftest import free_port, wait_until

pytest.importorskip("aiocoap")
pytest.importorskip("DTLSSocket", reason="DTLSSocket cannot be built here (install-test-tools.sh)")
__all__ = ["peer", "run"]  # fixtures
KEYS = {"me": "s3cret-key", "another": "another key"}
CONFIG = {"scheme": "coaps", "psk_identity": "me", "psk_key": KEYS["me"]}
BIG = b'{"seq": 9, "big": "%s"}' % (b"x" * 100 * 1024)


def test_observe_poll_blocks_and_errors(peer, run):
    server = peer(AioServer, {"/t": b'{"seq": 0}', "/plain/big": BIG}, scheme="coaps", psk=KEYS)
    service = run(server.port, ["/t", "/plain/big", "/nope"], **CONFIG)
    wait_registered(server, "/t")
    for seq in range(1, 6):
        server.put("/t", {"seq": seq})
        wait_seq(service, seq)
    wait_until(lambda: service.seqs() == [0, 1, 2, 3, 4, 5, 9], lambda: f"all: {service.seqs()}")
    nope = f"coaps://127.0.0.1:{server.port}/nope"
    wait_until(lambda: source_health(service)["resource_errors"].get(nope, "").startswith(
        "answered 4.04"), lambda: f"4.04 for {nope}, not {source_health(service)}")
    assert [len(r["big"]) for r in service.rows() if r.get("big")] == [100 * 1024]
    assert {r["resource_uri"] for r in service.rows()} == {
        f"coaps://127.0.0.1:{server.port}{path}" for path in ("/t", "/plain/big")}


@pytest.mark.parametrize("wrong", [{"psk_key": "s3cret-kez"}, {"psk_identity": "nobody"}])
def test_a_key_that_does_not_fit(peer, make_service, wrong):
    """Health says which two to look at; a source beside it that has the right ones goes on."""
    server = peer(AioServer, {"/t": b'{"seq": 1}'}, scheme="coaps", psk=KEYS)
    service = make_service(1, sources=[
        coap_source(server.port, "/t", name="bad", **CONFIG | wrong),
        coap_source(server.port, "/t", name="good", **CONFIG)])
    wait_seq(service, 1)
    wait_until(lambda: "psk_identity and psk_key" in source_health(service, "bad").get("error", ""),
               lambda: f"a word on the key, not {source_health(service, 'bad')}")
    told = source_health(service, "bad")
    assert not told["healthy"] and told["messages_received"] == 0
    assert source_health(service, "good")["healthy"]
    assert "s3cret" not in health(service)
    assert service.seqs() == [1]


def test_a_server_that_forgot_us(peer, run):
    """It was started anew: the session is none to it any more, and the source makes another."""
    port = free_port()
    server = AioServer({"/t": b'{"seq": 0}'}, port=port, scheme="coaps", psk=KEYS)
    try:
        service = run(port, "/t", observe_refresh_seconds=2, **CONFIG)
        wait_registered(server, "/t")
        wait_seq(service, 0)
    finally:
        server.stop()
    again = peer(AioServer, {"/t": b'{"seq": 1}'}, port=port, scheme="coaps", psk=KEYS)
    wait_seq(service, 1)
    wait_registered(again, "/t")
    again.put("/t", {"seq": 2})
    wait_seq(service, 2)
    wait_well(service)
    assert service.seqs() == [0, 1, 2]
