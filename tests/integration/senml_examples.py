"""The examples of RFC 8428 §5.1 that have values, and what §4.6 makes of a pack, written here anew so
that nothing of the service's says what is expected."""

OW = "urn:dev:ow:10e2073a01080063"
PACKS = {
    "5.1.1": [{"n": OW, "u": "Cel", "v": 23.1}],
    "5.1.2 two": [{"bn": OW + ":", "n": "voltage", "u": "V", "v": 120.1},
                  {"n": "current", "u": "A", "v": 1.2}],
    "5.1.2 seven": [
        {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e+09, "bu": "A", "bver": 5,
         "n": "voltage", "u": "V", "v": 120.1},
        *({"n": "current", "t": t, "v": v}
          for t, v in ((-5, 1.2), (-4, 1.3), (-3, 1.4), (-2, 1.5), (-1, 1.6))),
        {"n": "current", "v": 1.7}],
    "5.1.2 three": [{"bn": OW, "bt": 1.320067464e+09, "bu": "%RH", "v": 21.2},
                    {"t": 10, "v": 21.3}, {"t": 20, "v": 21.4}],
    "5.1.3": [
        {"bn": OW, "bt": 1.320067464e+09, "bu": "%RH", "v": 20},
        {"u": "lon", "v": 24.30621}, {"u": "lat", "v": 60.07965}, {"t": 60, "v": 20.3},
        {"u": "lon", "t": 60, "v": 24.30622}, {"u": "lat", "t": 60, "v": 60.07965},
        {"t": 120, "v": 20.7}, {"u": "lon", "t": 120, "v": 24.30623},
        {"u": "lat", "t": 120, "v": 60.07966}, {"u": "%EL", "t": 150, "v": 98},
        {"t": 180, "v": 21.2}, {"u": "lon", "t": 180, "v": 24.30628},
        {"u": "lat", "t": 180, "v": 60.07967}],
    "5.1.4": [{"n": OW, "u": unit, "t": 1.320067464e+09 + t, "v": v} for unit, t, v in (
        ("%RH", 0, 20), ("lon", 0, 24.30621), ("lat", 0, 60.07965), ("%RH", 60, 20.3),
        ("lon", 60, 24.30622), ("lat", 60, 60.07965), ("%RH", 120, 20.7), ("lon", 120, 24.30623),
        ("lat", 120, 60.07966), ("%EL", 150, 98), ("%RH", 180, 21.2), ("lon", 180, 24.30628),
        ("lat", 180, 60.07967))],
    "5.1.5": [{"bn": OW + ":", "n": "temp", "u": "Cel", "v": 23.1},
              {"n": "label", "vs": "Machine Room"}, {"n": "open", "vb": False},
              {"n": "nfv-reader", "vd": "aGkgCg"}],
    "5.1.6": [{"bn": "2001:db8::2/", "bt": 1.320078429e+09, "n": "temperature", "u": "Cel",
               "v": 25.2}, {"n": "humidity", "u": "%RH", "v": 30},
              {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
              {"n": "humidity", "u": "%RH", "v": 67}],
    "5.1.7 one": [{"bn": OW + ":"}, {"n": "temp", "u": "Cel", "v": 23.1},
                  {"n": "heat", "u": "/", "v": 1}, {"n": "fan", "u": "/", "v": 0}],
    "5.1.7 two": [{"bt": 1.320078429e+09, "bu": "/", "n": "2001:db8::3", "v": 1},
                  {"n": "2001:db8::4", "v": 1}],
    "5.1.7 three": [{"bt": 1.320078429e+09, "bu": "/", "n": "2001:db8::3", "v": 0.5},
                    {"n": "2001:db8::4", "v": 0.5}, {"n": "2001:db8::3", "t": 0.1, "v": 0},
                    {"n": "2001:db8::4", "t": 0.1, "v": 0}],
}
# What the RFC's examples do not show of §4.1 and §4.2: base values, sums and base sums, update times, a
# version, base fields that a later record changes or that stand alone.
MORE = {
    "base value": [{"bn": OW, "bt": 1.7e9, "bv": 20.5, "v": 2.25}, {"t": 1}, {"t": 2, "v": -0.5},
                   {"t": 3, "vs": "no number"}, {"t": 4, "bv": 1, "v": 1}],
    "sums": [{"bn": OW + ":", "bt": 1.7e9, "bs": 1000, "n": "energy", "u": "J", "v": 3, "s": 5},
             {"n": "energy", "t": 60, "s": 7.5}, {"n": "energy", "t": 120, "bs": 0.5, "s": 1}],
    "sum alone": [{"n": OW, "bver": 10, "u": "m3", "t": 1.7e9, "s": 12.5, "ut": 3600}],
    "base later": [{"bn": "a:", "n": "x", "t": 1.7e9, "v": 1}, {"bn": "b:", "bt": 1.7e9, "bu": "V"},
                   {"n": "x", "v": 2}, {"n": "y", "u": "A", "t": -0.25, "vb": True}],
}
LABELS = {"bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6, "n": 0, "u": 1, "v": 2,
          "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8}  # §6
BASE = ("bver", "bn", "bt", "bu", "bv", "bs")
VALUES = ("v", "vs", "vb", "vd", "s")


def resolve(pack):
    """Records as §4.6 says; "t" is None where the moment of arrival decides."""
    base, found = {}, []
    for record in pack:
        base |= {k: v for k, v in record.items() if k in ("bn", "bt", "bu", "bv", "bs")}
        if all(k in BASE for k in record):
            continue
        resolved = {"n": base.get("bn", "") + record.get("n", ""),
                    "u": record.get("u", base.get("bu"))}
        resolved |= {k: v for k, v in record.items() if k in VALUES or k == "ut"}
        if "v" in record or not any(k in record for k in VALUES):
            resolved["v"] = record.get("v", 0) + base.get("bv", 0)
        if "s" in record or "bs" in base:
            resolved["s"] = record.get("s", 0) + base.get("bs", 0)
        time = base.get("bt", 0) + record.get("t", 0)
        resolved["t"] = time if time >= 2 ** 28 else None
        found.append({k: v for k, v in resolved.items() if v is not None or k == "t"})
    return found


def to_cbor(pack):
    import base64

    import cbor2
    return cbor2.dumps([{LABELS[k]: base64.urlsafe_b64decode(v + "==") if k == "vd" else v
                         for k, v in record.items()} for record in pack])
