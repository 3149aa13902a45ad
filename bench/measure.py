"""What the benchmarks measure by: the service's own figures, those of its process, and the disk's."""
import os
import pathlib
import re
import time
import urllib.request


def sync_latency_ms(folder):
    """Median of 50 times 4 KiB and fdatasync."""
    path = folder / "sync-probe"
    times = []
    with open(path, "wb", buffering=0) as file:
        file.write(b"\0" * (1 << 20))
        os.fsync(file.fileno())
        for i in range(50):
            file.seek(i * 4096)
            begin = time.perf_counter()
            file.write(b"\1" * 4096)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begin)
    path.unlink()
    return sorted(times)[25] * 1000


def first_port(stream, pattern):
    for line in stream:
        found = re.search(pattern, line)
        if found:
            return int(found.group(1))
    raise SystemExit("the process ended before it named its port")


def drain(stream, keep):
    for line in stream:
        keep.append(line)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def metric(text, name):
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if line.startswith(name + "{") or line.startswith(name + " "))


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return answer.read().decode()
