"""publish_qos2.py PORT COUNT SECONDS: publishes COUNT readings with QoS 2, spread over about SECONDS,
to a broker on this machine, and ends when all are completed."""

import sys
import threading
import time

import paho.mqtt.client as mqtt

WINDOW = 2000


def main(port, count, seconds):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "publisher", protocol=mqtt.MQTTv5)
    room = threading.Semaphore(WINDOW)
    client.max_inflight_messages_set(WINDOW)
    client.on_publish = lambda *_: room.release()
    client.connect("127.0.0.1", port)
    client.loop_start()
    start = time.monotonic()
    for seq in range(1, count + 1):
        room.acquire()
        client.publish(f"smartcity/sensors/s{seq % 20}", f'{{"sensor_id":"s","seq":{seq}}}', qos=2)
        ahead = start + seconds * seq / count - time.monotonic()
        if ahead > 0.01:
            time.sleep(ahead)
    for _ in range(WINDOW):
        room.acquire()
    client.loop_stop()
    client.disconnect()


main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
