#!/usr/bin/env python3
"""Serves what dashboards and alerts read of Sonde, with invented values: the checks of what ships can be checked by it.

    tests/oracle/stub_daemon.py PORT [--gpu] [--fault NAME]

Serves http://127.0.0.1:PORT/metrics in text 0.0.4, OpenMetrics 1.0 and protobuf. Two targets make five runs a second.
With a fault it serves something wrong, which the scrape oracle must then report. Standard library only.
"""

import argparse
import gzip
import math
import random
import struct
import threading
import time
from bisect import bisect_left
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = {
    "value": "OpenMetrics says one more run than the others",
    "series": "protobuf lacks a series",
    "content-type": "text without a version",
    "no-eof": "OpenMetrics without its last line",
    "no-gzip": "never compressed",
    "no-native": "protobuf without native histograms",
    "native-shift": "native buckets one place off the classic ones",
    "unsorted": "a classic bucket smaller than the one before",
    "lint": "a counter without help",
    "no-exemplars": "OpenMetrics without exemplars",
}

TTFT = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10, 40, 160]
GAP = [0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 10]
LONG = [0.01 * 2**k for k in range(17)]
PHASE = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
INSTRUMENT = [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1]
SPEED = [1, 2.5, 5, 10, 20, 30, 40, 50, 75, 100, 150, 200, 500, 2000]
REASONS = ["refused", "timeout_first_token", "stalled", "http_5xx", "truncated", "cancelled"]
PHASES = ["schedule", "dns", "connect", "tls", "send", "wait", "stream"]
TAINTS = ["schedule_lag", "throttled", "run_queue", "merged_reads"]
CLOCKS = ["wire", "socket", "user"]
SCHEMA = 3


class Histogram:
    def __init__(self, bounds):
        self.bounds, self.counts = bounds, [0] * (len(bounds) + 1)
        self.sum, self.native, self.exemplar = 0.0, {}, None

    def observe(self, value):
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        index = math.ceil(math.log2(value) * 2**SCHEMA)
        self.native[index] = self.native.get(index, 0) + 1
        self.exemplar = (value, f"run-{random.randrange(10**9):09}", time.time())

    def cumulative(self):
        total = 0
        for bound, count in zip([*self.bounds, math.inf], self.counts, strict=True):
            total += count
            yield bound, total


class Family:
    def __init__(self, name, kind, help):
        self.name, self.kind, self.help, self.children = name, kind, help, {}


class Registry:
    def __init__(self):
        self.families = {}

    def child(self, name, kind, labels, initial):
        family = self.families.setdefault(name, Family(name, kind, f"Invented values of {name}."))
        return family.children.setdefault(tuple(sorted(labels.items())), initial)

    def add(self, name, labels, amount=1.0):
        self.child(name, "counter", labels, [0.0])[0] += amount

    def set(self, name, labels, value):
        self.child(name, "gauge", labels, [0.0])[0] = value

    def observe(self, name, labels, bounds, value):
        self.child(name, "histogram", labels, Histogram(bounds)).observe(value)


def run(registry, probe, speed, now):
    """One invented run: `speed` tokens per second."""
    tokens, ttft = 64, random.lognormvariate(-1.5, 0.4) * 50 / speed
    failed = random.random() < 0.05
    registry.add("llm_probe_scheduled_total", probe)
    registry.add("llm_probe_runs_total", probe)
    if failed:
        registry.add("llm_probe_failures_total", probe | {"reason": random.choice(REASONS)})
    for name in ("missed", "skipped"):
        registry.add(f"llm_probe_{name}_total", probe | {"reason": "invented"}, float(random.random() < 0.02))
    for reason in TAINTS:
        registry.add("llm_probe_tainted_total", probe | {"reason": reason}, float(random.random() < 0.01))
    registry.add("llm_probe_runs_by_clock_total", probe | {"clock": random.choice(["wire", "wire", "socket"])})
    stream = tokens / speed
    for kind in ("any", "visible"):
        registry.observe(
            "llm_probe_time_to_first_token_seconds", probe | {"kind": kind, "connection": "warm"}, TTFT, ttft
        )
    for _ in range(10):
        registry.observe("llm_probe_inter_token_latency_seconds", probe, GAP, random.lognormvariate(0, 0.3) / speed)
    registry.observe("llm_probe_time_per_output_token_seconds", probe, GAP, 1 / speed)
    registry.observe("llm_probe_max_stall_seconds", probe, GAP, 3 / speed)
    for name in ("llm_probe_inference_seconds", "llm_probe_duration_seconds"):
        registry.observe(name, probe | {"result": "failure" if failed else "success"}, LONG, ttft + stream)
    for phase in PHASES:
        seconds = {"wait": ttft, "stream": stream}.get(phase, random.uniform(0.0002, 0.002))
        registry.observe("llm_probe_phase_seconds", probe | {"phase": phase}, PHASE, seconds)
    for basis, value in (("decode", speed), ("end_to_end", tokens / (ttft + stream))):
        registry.observe("llm_probe_output_tokens_per_second", probe | {"basis": basis}, SPEED, value)
    for name in ("stamp_delay", "schedule_lag", "error_bound"):
        registry.observe(f"llm_probe_{name}_seconds", probe, INSTRUMENT, random.uniform(1e-5, 1e-3))
    registry.set("llm_probe_last_run_timestamp_seconds", probe, now)
    registry.set("llm_probe_next_run_timestamp_seconds", probe, now + 0.4)
    registry.set("llm_probe_success", probe, 0.0 if failed else 1.0)
    if not failed:
        registry.set("llm_probe_last_success_timestamp_seconds", probe, now)


def instrument(registry, now):
    """What the daemon says of itself: its clocks, and a self-test each time."""
    available = {"wire": "available", "socket": "available"}
    registry.set("sonde_clock_info", {"clock": "wire", "configured": "auto"} | available, 1.0)
    registry.set("sonde_selftest_success", {}, 1.0)
    registry.set("sonde_selftest_timestamp_seconds", {}, now)
    for clock, error in (("wire", 1e-5), ("socket", 3e-5), ("user", 1e-4)):
        for quantity in ("ttft", "itl", "tpot", "e2e"):
            for stat, factor in (("mean", 1), ("p50", 1), ("p99", 5), ("max", 9)):
                labels = {"clock": clock, "quantity": quantity, "stat": stat}
                registry.set("llm_probe_instrument_error_seconds", labels, error * factor * random.uniform(-0.2, 1))


def resources(registry, gpu):
    for scope in ("node", "container"):
        registry.add("llm_resource_cpu_seconds_total", {"scope": scope}, random.uniform(0.1, 0.3))
        for kind in ("usage", "working_set"):
            registry.set("llm_resource_memory_bytes", {"scope": scope, "kind": kind}, random.uniform(2e9, 2.2e9))
    for direction in ("receive", "transmit"):
        registry.add(f"llm_resource_network_{direction}_bytes_total", {"scope": "node", "interface": "eth0"}, 1500.0)
    if gpu:
        labels = {"gpu": "0", "uuid": "GPU-0", "name": "Invented", "source": "nvml"}
        registry.set("llm_gpu_utilization_ratio", labels, random.random())
        registry.set("llm_gpu_memory_used_bytes", labels, 8e9)
        registry.set("llm_gpu_memory_total_bytes", labels, 24e9)
        registry.set("llm_gpu_power_watts", labels, 72.0)
        registry.set("llm_gpu_temperature_celsius", labels, 61.0)


PROBES = [
    ({"target": "ollama-gemma", "runtime": "ollama", "model": "gemma3:4b", "scenario": "chat"}, 60),
    ({"target": "llamacpp-gemma", "runtime": "llamacpp", "model": "gemma-3-4b", "scenario": "chat"}, 90),
]


def number(value):
    if math.isinf(value):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def braces(labels, extra=()):
    pairs = [*labels, *extra]
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs) + "}" if pairs else ""


def text(registry, openmetrics, fault):
    lines = []
    for family in registry.families.values():
        name = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
        if not (fault == "lint" and family.kind == "counter"):
            lines.append(f"# HELP {name} {family.help}")
        lines.append(f"# TYPE {name} {family.kind}")
        for labels, child in family.children.items():
            if family.kind != "histogram":
                wrong = openmetrics and fault == "value" and family.name == "llm_probe_runs_total"
                lines.append(f"{family.name}{braces(labels)} {number(child[0] + wrong)}")
                continue
            before = 0
            for bound, count in child.cumulative():
                if fault == "unsorted" and bound == math.inf and before:
                    count = before - 1
                before = count
                le = "+Inf" if bound == math.inf else (repr(float(bound)) if openmetrics else number(bound))
                line = f"{name}_bucket{braces(labels, [('le', le)])} {count}"
                if openmetrics and child.exemplar and fault != "no-exemplars" and child.exemplar[0] <= bound:
                    value, run_id, stamp = child.exemplar
                    line += f' # {{run_id="{run_id}"}} {number(value)} {stamp:.3f}'
                lines.append(line)
            lines += [f"{name}_sum{braces(labels)} {number(child.sum)}", f"{name}_count{braces(labels)} {count}"]
    if openmetrics and fault != "no-eof":
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value):
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def field(tag, payload):
    if isinstance(payload, float):
        return varint(tag << 3 | 1) + struct.pack("<d", payload)
    if isinstance(payload, int):
        return varint(tag << 3) + varint(payload)
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(tag << 3 | 2) + varint(len(payload)) + payload


def native_buckets(histogram, fault):
    out = varint(5 << 3) + zigzag(SCHEMA) + field(6, 1e-128) + field(7, 0)
    indexes = sorted(histogram.native)
    deltas, expected, previous = b"", 0, 0
    for position, index in enumerate(indexes):
        index += 12 if fault == "native-shift" else 0
        out += field(12, varint(1 << 3) + zigzag(index - expected) + field(2, 1))
        expected = index + 1
        count = histogram.native[indexes[position]]
        deltas += zigzag(count - previous)
        previous = count
    return out + field(13, deltas)


def protobuf(registry, fault):
    out = b""
    for family in registry.families.values():
        kind = {"counter": 0, "gauge": 1, "histogram": 4}[family.kind]
        message = field(1, family.name) + field(2, family.help) + field(3, kind)
        for labels, child in family.children.items():
            if fault == "series" and family.name == "llm_probe_success":
                continue
            metric = b"".join(field(1, field(1, name) + field(2, value)) for name, value in labels)
            if family.kind == "histogram":
                body = field(1, sum(child.counts)) + field(2, child.sum)
                for bound, count in child.cumulative():
                    body += field(3, field(1, count) + field(2, float(bound)))
                metric += field(7, body + (b"" if fault == "no-native" else native_buckets(child, fault)))
            else:
                metric += field(3 if family.kind == "counter" else 2, field(1, child[0]))
            message += field(4, metric)
        out += varint(len(message)) + message
    return out


def preferred(accept):
    """The media type with the greatest q."""
    offers = [[part.strip() for part in offer.split(";")] for offer in accept.split(",")]
    return max(offers, key=lambda parts: next((float(part[2:]) for part in parts if part.startswith("q=")), 1.0))[0]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry, guard, fault = Registry(), threading.Lock(), None

    def do_GET(self):
        media = preferred(self.headers.get("Accept", ""))
        with self.guard:
            if media == "application/vnd.google.protobuf":
                kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
                body = protobuf(self.registry, self.fault)
            elif media == "application/openmetrics-text":
                kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
                body = text(self.registry, True, self.fault)
            else:
                kind = "text/plain" + ("" if self.fault == "content-type" else "; version=0.0.4; charset=utf-8")
                body = text(self.registry, False, self.fault)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if "gzip" in self.headers.get("Accept-Encoding", "") and self.fault != "no-gzip":
            body = gzip.compress(body)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def keep_running(gpu):
    while True:
        with Handler.guard:
            for probe, speed in PROBES:
                run(Handler.registry, probe, speed, time.time())
            instrument(Handler.registry, time.time())
            resources(Handler.registry, gpu)
        time.sleep(0.4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--gpu", action="store_true", help="also report a GPU")
    parser.add_argument("--fault", choices=FAULTS, help="; ".join(f"{name}: {what}" for name, what in FAULTS.items()))
    arguments = parser.parse_args()
    Handler.fault = arguments.fault
    for probe, _ in PROBES:
        for reason in REASONS:
            Handler.registry.add("llm_probe_failures_total", probe | {"reason": reason}, 0.0)
        for clock in CLOCKS:
            Handler.registry.add("llm_probe_runs_by_clock_total", probe | {"clock": clock}, 0.0)
    threading.Thread(target=keep_running, args=[arguments.gpu], daemon=True).start()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
