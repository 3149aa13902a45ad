"""CoAP sources against libcoap's own server: the same promises as against aiocoap's (test_coap.py)."""

import json

from coap_peers import (LibcoapServer, coap_source, peer, source_health, wait_health, wait_seq,
                        wait_well)
from conftest import free_port, wait_until

__all__ = ["peer"]  # fixtures
LARGE_BYTES = 100 * 1024


def large(seq):
    return {"seq": seq, "big": "abcdefgh" * (LARGE_BYTES // 8)}


def sources_of(port, schemes):
    """Each way to ask, of one server."""
    return [coap_source(port, path, name=f"{mode} {scheme} {path}", scheme=scheme, mode=mode,
                        poll_interval=5, dataset="{source}", observe_refresh_seconds=3)
            for scheme in schemes for mode in ("observe", "poll") for path in ("/t", "/big", "/nope")]


def rows_by_source(service):
    told = json.loads(service.get("/api/data-sources"))["data"] or []  # none before they are read
    names = {s["ingestion_id"]: s["name"] for s in told}
    found = {}
    for row in service.rows():
        found.setdefault(names[row["original_source_id"]], []).append(row)
    return found


def wait_everywhere(service, seq, count):
    """All sources that have something have that, whole."""
    def there():
        found = rows_by_source(service)
        have = [name for name, rows in found.items() if any(r["seq"] == seq for r in rows)]
        return len(have) == count

    wait_until(there, lambda: f"{seq} in {count} sources, not " + str(
        {name: [r["seq"] for r in rows] for name, rows in rows_by_source(service).items()}))


def check_large(service):
    for name, rows in rows_by_source(service).items():
        for row in rows:
            expected = large(0)["big"] if name.endswith("/big") else None
            assert row.get("big") == expected, name


def test_observe_and_poll_and_blocks_and_errors_over_udp_and_tcp(peer, make_service, tmp_path):
    """A body of 100 KiB is observed too; 4.04 is one resource's health; after a restart, for the
    server has forgotten all, each goes on by itself."""
    port = free_port()
    server = LibcoapServer(tmp_path, tls=False, port=port)
    try:
        server.put("/t", {"seq": 1})
        server.put("/big", large(1))
        service = make_service(1, sources=sources_of(port, ["coap", "coap+tcp"]))
        wait_everywhere(service, 1, 8)
        wait_health(service, "/nope: answered 4.04 not found")
        server.put("/t", {"seq": 2})
        server.put("/big", large(2))
        wait_everywhere(service, 2, 8)
    finally:
        server.stop()
    again = peer(LibcoapServer, tmp_path, tls=False, port=port)
    again.put("/t", {"seq": 3})
    again.put("/big", large(3))
    wait_everywhere(service, 3, 8)
    again.put("/t", {"seq": 4})
    again.put("/big", large(4))
    wait_everywhere(service, 4, 8)
    check_large(service)


def test_dtls_goes_on_after_a_restart(peer, make_service, tmp_path):
    """The server has forgotten the session, and what it is sent means nothing to it: without a sign
    of life another one is made."""
    server = LibcoapServer(tmp_path, "-k", "s3cret-key")
    port = server.port
    try:
        server.put("/t", {"seq": 1})
        server.put("/big", large(1))
        service = make_service(1, sources=[coap_source(
            port + 1, ["/t", "/big"], scheme="coaps", psk_identity="me", psk_key="s3cret-key",
            observe_refresh_seconds=2)])
        wait_until(lambda: service.seqs() == [1, 1], "both")
    finally:
        server.stop()
    again = peer(LibcoapServer, tmp_path, "-k", "s3cret-key", port=port)
    again.put("/t", {"seq": 2})
    again.put("/big", large(2))
    wait_until(lambda: service.seqs() == [1, 1, 2, 2], lambda: f"both again, not {service.seqs()}")
    wait_well(service)
    again.put("/t", {"seq": 3})
    wait_seq(service, 3)


def test_dtls_waits_for_a_slow_resource_of_a_server_that_lives(peer, make_service, tmp_path):
    """libcoap's /async answers after the seconds that it is asked for."""
    server = peer(LibcoapServer, tmp_path, "-k", "s3cret-key")
    service = make_service(1, sources=[coap_source(
        server.port + 1, "/async?23", scheme="coaps", psk_identity="me", psk_key="s3cret-key",
        mode="poll", poll_interval=3600)])
    wait_health(service, "no answer for 10 s")
    wait_until(lambda: [r["content"] for r in service.rows()] == ["done"], "its answer")
    wait_well(service)
    assert source_health(service)["sessions"] == 1


def test_what_it_offers(peer, make_service, tmp_path):
    """Its /.well-known/core has escaped what is no plain ASCII, as the configuration would."""
    server = peer(LibcoapServer, tmp_path, tls=False)
    paths = ["d/a%20b", "d/gr%C3%B6%C3%9Fe", "d/x%252Fy", "d/t"]
    for seq, path in enumerate(paths):
        server.put("/" + path, {"seq": seq})
    service = make_service(1, sources=[coap_source(server.port, "/d/*", discover=True)])
    wait_until(lambda: service.seqs() == [0, 1, 2, 3], lambda: f"four, not {service.seqs()}")
    assert {row["resource_uri"] for row in service.rows()} == {
        f"coap://127.0.0.1:{server.port}/{path}" for path in paths}
