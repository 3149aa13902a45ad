"""A lake's worth of readings whose schemas evolve, and what the metadata of each dataset must then
say, counted from what was sent and apart from the service. Datasets are sent by processes of their
own over HTTP push, each post again under its key until it is taken."""

import http.client
import json
import random
import time
import uuid
from datetime import datetime, timedelta, timezone

from conftest import PATIENCE_S

RANKS = {"null": 0, "boolean": 1, "double": 2, "string": 3, "uuid": 3, "array": 4, "object": 5}
VALUES_KEPT = 300  # of a field; its samples are then known to be among them
LATE_S = (7200, 200000, 90 * 86400)


def type_of(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "double"
    if isinstance(value, str):
        try:
            return "uuid" if str(uuid.UUID(value)) == value.lower() else "string"
        except ValueError:
            return "string"
    return "array" if isinstance(value, list) else "object"


class Field:
    def __init__(self):
        self.filled = 0
        self.types = []  # as they rose
        self.seen = set()
        self.values = set()

    def add(self, value):
        self.filled += value is not None
        kind = type_of(value)
        self.seen.add(kind)
        if not self.types or RANKS[kind] > RANKS[self.types[-1]]:
            self.types.append(kind)
        if len(self.values) < VALUES_KEPT and not isinstance(value, (dict, list, type(None))):
            self.values.add(value if isinstance(value, str) else json.dumps(value))


class Model:
    """What the metadata of a dataset must say."""

    def __init__(self, name):
        self.name = name
        self.records = self.size = self.seqs = self.late = self.untimed = self.repeats = 0
        self.sensors, self.fields = set(), {}
        self.begin = self.end = None  # around the arrivals
        self.first = None             # late and untimed, when there was one record

    def add(self, record, size):
        self.records += 1
        self.size += size
        self.seqs += record["seq"]
        for name in "sensor_id", "sensorId":
            if record.get(name) is not None:
                self.sensors.add(str(record[name]))
        for name, value in record.items():
            if name == "timestamp":
                continue
            field = self.fields.get(name)
            if field is None:
                field = self.fields[name] = Field()
            field.add(value)


class Plan:
    """The records of one dataset, in order. Fields appear, vanish and change their type; a type
    also falls back again, which is no news."""

    def __init__(self, number, records):
        self.number, self.records = number, records
        self.rng = random.Random(number)
        self.many = number % 5 == 0  # sensors: beyond the list of 1,000
        self.sensor_name = "sensorId" if number % 3 == 1 else "sensor_id"
        self.sensors = records if self.many else 1 + number * 7 % 60
        self.base = None  # the time of records that are not late

    def sensor(self, part):
        """Some are numbers, and some of those become texts."""
        n = self.rng.randrange(self.sensors)
        is_number = self.number % 4 == 2 or (self.number % 4 == 3 and part < 0.5)
        return n if is_number else f"sensor\0{self.number}-{n}"

    def timestamp(self, model):
        """In the record, or None where it has none. Late ones are days old, but for a few: each
        hour within a day of now has a file of its own."""
        chance = self.rng.random()
        if chance < 0.01:
            model.untimed += 1
            return self.rng.choice([None, "soon", "", {"at": 1}])
        at = self.base
        if chance < 0.05:
            model.late += 1
            at -= timedelta(seconds=LATE_S[0] if chance < 0.0101 else self.rng.choice(LATE_S[1:]))
        return at.isoformat() if chance < 0.5 else at.timestamp()

    def evolving(self, record, part):
        rng, n = self.rng, self.number
        record["rises"] = (rng.random() < 0.5 if part < 0.2 else rng.randrange(9) if part < 0.5
                           else f"r{rng.randrange(9)}")
        record["null_first"] = None if part < 0.3 else rng.randrange(100)
        if part >= 0.4:  # the first of equal rank stays
            record["appears"] = (str(uuid.UUID(int=rng.getrandbits(128))) if part < 0.7
                                 else f"a{rng.randrange(1000)}")
        record["never"] = None
        if part < 0.5:
            record["vanishes"] = "ü\0bung" if rng.random() < 0.5 else "x" * 300
        record["nested"] = {"lat": 1.5, "tags": ["a", None]}
        if part > 0.6:
            record["nested"]["unit"] = "°C"
        if part < 0.3 or n % 2:
            record["up_and_down"] = rng.random()
        elif part < 0.6:
            record["up_and_down"] = [rng.randrange(5)]
        else:
            record["up_and_down"] = {"deep": [1]} if rng.random() < 0.5 else "down again"
        record["odd"] = "fits" if part == 0 or rng.random() < 0.999 else rng.choice([1.5, True, [1], {"a": 1}])
        record[f"step_{int(part * 10)}"] = rng.randrange(1000)
        if part < 0.1 or rng.random() < 0.5:
            record["mixed"] = 1 if part < 0.1 else rng.choice([2, "n/a", False, [2], {"a": 2}])

    def record(self, i, model):
        rng = self.rng
        record = {"seq": i, "temp": round(rng.random() * 40, 3), "on": rng.random() < 0.5}
        if rng.random() < 0.95:
            record[self.sensor_name] = self.sensor(i / self.records)
        at = self.timestamp(model)
        if at is not None or rng.random() < 0.5:
            record["timestamp"] = at
        self.evolving(record, i / self.records)
        return record

    def post(self, first, count, model):
        """A body of count records; a few come twice."""
        lines = []
        self.base = datetime.now(timezone.utc).replace(microsecond=0)
        while len(lines) < count:
            untimed, late = model.untimed, model.late
            record = self.record(first, model)
            first += 1
            text = json.dumps(record)
            lines.append(text)
            model.add(record, len(text))
            if model.untimed == untimed and self.rng.random() < 0.01 and len(lines) < count:
                lines.append(text)
                model.add(record, len(text))
                model.late += model.late - late
                model.repeats += 1
        return "\n".join(lines), first


class Poster:
    """Keeps its connection while it can, and repeats a post until it is taken."""

    def __init__(self, port):
        self.port, self.connection, self.repeats = port, None, 0

    def post_once(self, path, body, key):
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                             timeout=PATIENCE_S)
            self.connection.request("POST", path, body, {
                "Content-Type": "application/x-ndjson", "Idempotency-Key": key})
            answer = self.connection.getresponse()
            text = answer.read()
            return answer.status, text
        except (OSError, http.client.HTTPException):
            self.connection = None
            return None, None

    def post(self, path, body, key, count):
        end = time.monotonic() + PATIENCE_S
        while True:
            status, text = self.post_once(path, body, key)
            if status == 202:
                assert json.loads(text)["data"]["count"] == count
                return
            # it is just starting, or has no room, or a former try is on its way to the disk
            assert status in (None, 404, 409, 429, 503), (status, text)
            assert time.monotonic() < end, f"the post was never taken: {status} {text}"
            self.repeats += 1
            time.sleep(0.02)


class Sender:
    """The datasets of one process."""

    def __init__(self, port, paths, records, batch):
        self.poster, self.batch, self.records = Poster(port), batch, records
        self.paths = paths  # number -> path
        self.plans = {number: Plan(number, records) for number in paths}
        self.models = {number: Model(f"model {number}") for number in paths}
        self.next = dict.fromkeys(paths, 0)

    def send(self, number, count, key):
        model = self.models[number]
        body, self.next[number] = self.plans[number].post(self.next[number], count, model)
        model.begin = model.begin or time.time()
        self.poster.post(self.paths[number], body.encode(), key, count)
        model.end = time.time()

    def run(self, sent, go):
        """A record of each, and when go is set all that is to come, in turn; adds to the shared
        count."""
        for number, model in self.models.items():
            self.send(number, 1, f"{number}-first")
            model.first = (model.late, model.untimed)
        with sent.get_lock():
            sent.value += len(self.models)
        assert go.wait(PATIENCE_S), "the others did not come so far"
        turn = 0
        while True:
            left = [n for n, m in self.models.items() if m.records < self.records]
            if not left:
                return self.models, self.poster.repeats
            for number in left:
                count = min(self.batch, self.records - self.models[number].records)
                self.send(number, count, f"{number}-{turn}")
                with sent.get_lock():
                    sent.value += count
            turn += 1


def run_sender(port, paths, records, batch, sent, go, results):
    """A process: puts its models and how often it repeated, or what went wrong."""
    try:
        results.put(Sender(port, paths, records, batch).run(sent, go))
    except BaseException as error:  # told by who waits for it
        results.put(error)
        raise
