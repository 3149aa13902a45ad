"""Brokers of other makes than Mosquitto (conftest.py). Each ends with its test."""

import subprocess

from conftest import Mosquitto, end_process, find_tool, free_port, wait_until


class Mochi:
    """mochi-mqtt (scripts/install-s3-servers.sh)."""

    def __init__(self):
        self.port, self.web_port = free_port(), free_port()
        self.process = subprocess.Popen(
            [find_tool("mochi-mqtt"), "-tcp", f"127.0.0.1:{self.port}", "-ws",
             f"127.0.0.1:{self.web_port}", "-info", f"127.0.0.1:{free_port()}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: Mosquitto._answers(self), "mochi-mqtt to listen")

    def stop(self):
        self.process.kill()  # where it has locked up, SIGTERM waits for ever
        self.process.wait()


class HiveMq:
    """HiveMQ CE (scripts/install-hivemq.sh), plain and with TLS. Its defaults are small: it lets a
    publisher have 10 messages in flight and keeps 1,000 for a session."""

    CONFIG = """<?xml version="1.0"?>
<hivemq>
  <listeners>
    <tcp-listener><port>{port}</port><bind-address>127.0.0.1</bind-address></tcp-listener>
    <tls-tcp-listener>
      <port>{tls_port}</port>
      <bind-address>127.0.0.1</bind-address>
      <tls><keystore>
        <path>{store}</path><password>secret</password><private-key-password>secret</private-key-password>
      </keystore></tls>
    </tls-tcp-listener>
  </listeners>
  <mqtt>
    <receive-maximum><server-receive-maximum>65535</server-receive-maximum></receive-maximum>
    <queued-messages><max-queue-size>10000000</max-queue-size></queued-messages>
  </mqtt>
  <persistence><mode>in-memory</mode></persistence>
  <anonymous-usage-statistics><enabled>false</enabled></anonymous-usage-statistics>
</hivemq>
"""

    def __init__(self, folder, certificate, key):
        self.port, self.tls_port = free_port(), free_port()
        for name in ("conf", "data", "extensions"):
            (folder / name).mkdir(parents=True)
        store = folder / "store.p12"
        subprocess.run([find_tool("openssl"), "pkcs12", "-export", "-in", certificate, "-inkey", key,
                        "-out", store, "-passout", "pass:secret"], check=True)
        (folder / "conf/config.xml").write_text(
            self.CONFIG.format(port=self.port, tls_port=self.tls_port, store=store))
        with open(folder / "hivemq.log", "wb") as log:
            self.process = subprocess.Popen([find_tool("hivemq"), str(folder)], stdout=log, stderr=log)
        wait_until(lambda: Mosquitto._answers(self), "HiveMQ to listen")

    def stop(self):
        end_process(self.process)
