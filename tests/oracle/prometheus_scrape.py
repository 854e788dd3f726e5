#!/usr/bin/env python3
"""Lets real Prometheus judge the /metrics of a running daemon.

    tests/oracle/prometheus_scrape.py BASE_URL PROMETHEUS_DIR [--patience SECONDS]

BASE_URL is the daemon's, such as http://127.0.0.1:10798; PROMETHEUS_DIR holds `prometheus` and `promtool` (see
scripts/tools prometheus). The daemon should make a run every few seconds, and some of them should succeed.

First every format is read here and compared with the others, then Prometheus scrapes each of them for itself. Prints a
line per check, then `N passed, N failed, N skipped`. Exit status: 0 good, 1 a check failed, 2 usage.
Standard library only.
"""

import argparse
import contextlib
import gzip
import http.client
import json
import math
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

TEXT, OPENMETRICS, PROTOBUF = "text", "openmetrics", "protobuf"
ACCEPT = {
    TEXT: "text/plain;version=0.0.4",
    OPENMETRICS: "application/openmetrics-text;version=1.0.0",
    PROTOBUF: "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
}
CONTENT_TYPE = {
    TEXT: ("text/plain", {"version": "0.0.4"}),
    OPENMETRICS: ("application/openmetrics-text", {"version": "1.0.0"}),
    PROTOBUF: (
        "application/vnd.google.protobuf",
        {"proto": "io.prometheus.client.MetricFamily", "encoding": "delimited"},
    ),
}
SCRAPE_PROTOCOL = {TEXT: "PrometheusText0.0.4", OPENMETRICS: "OpenMetricsText1.0.0", PROTOBUF: "PrometheusProto"}

# What Prometheus 3 sends with and without protobuf, and clients that do not say what they want.
NEGOTIATIONS = [
    (None, TEXT),
    ("*/*", TEXT),
    ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
    (
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        PROTOBUF,
    ),
    (
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        "text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        OPENMETRICS,
    ),
    ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.1", TEXT),
]

TTFT = "llm_probe_time_to_first_token_seconds"
ATTEMPTS = 40
PAUSE = 0.3


# --- Results ----------------------------------------------------------------------------------------------------------


class Report:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, problem):
        """`problem` is None or an empty string when the check passed."""
        if problem:
            self.failed += 1
            print(f"FAIL  {name}: {problem}", flush=True)
        else:
            self.passed += 1
            print(f"pass  {name}", flush=True)

    def skip(self, name, reason):
        self.skipped += 1
        print(f"SKIP  {name}: {reason}", flush=True)


def some(items, limit=3):
    """The first few of many, for one line."""
    items = sorted(map(str, items))
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


# --- Exposition, read into one shape ----------------------------------------------------------------------------------


class Malformed(Exception):
    pass


@dataclass
class Native:
    schema: int
    zero_count: int
    count: int
    buckets: dict  # index -> observations


@dataclass
class Exposition:
    samples: dict = field(default_factory=dict)  # (sample name, ((label, value), ...)) -> number
    types: dict = field(default_factory=dict)  # family -> type
    native: dict = field(default_factory=dict)  # (family, labels) -> Native
    exemplars: int = 0

    def add(self, name, labels, value):
        key = (name, tuple(sorted(labels)))
        if key in self.samples:
            raise Malformed(f"series appears twice: {show(key)}")
        self.samples[key] = value


def show(key):
    name, labels = key
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels) + "}"


def canonical_edge(le):
    return repr(float(le))


PAIR = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*"'
SAMPLE = re.compile(
    rf"([a-zA-Z_:][\w:]*)(?:\{{((?:{PAIR}(?:,{PAIR})*,?)?)\}})? (\S+)(?: (-?[\d.]+))?(?: # \{{((?:{PAIR}(?:,{PAIR})*)?)\}} (\S+)(?: ([\d.]+))?)?"
)
UNESCAPE = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def read_pairs(text):
    pairs = re.findall(r'([a-zA-Z_]\w*)="((?:[^"\\\n]|\\.)*)"', text or "")
    return [(name, re.sub(r"\\.", lambda match: UNESCAPE.get(match[0], match[0]), value)) for name, value in pairs]


def read_text(body, openmetrics):
    exposition = Exposition()
    lines = body.decode("utf-8").split("\n")
    if lines.pop() != "":
        raise Malformed("the last line has no line feed")
    if openmetrics and (not lines or lines.pop() != "# EOF"):
        raise Malformed("the last line is not `# EOF`")
    for line in lines:
        if line.startswith("#"):
            keyword, name, *rest = line[2:].split(" ", 2)
            if keyword == "TYPE":
                if name in exposition.types:
                    raise Malformed(f"second TYPE line of `{name}`")
                exposition.types[name] = rest[0]
            continue
        match = SAMPLE.fullmatch(line)
        if not match:
            raise Malformed(f"line is no sample: `{line[:120]}`")
        name, pairs, value, timestamp, exemplar, exemplar_value, _ = match.groups()
        if timestamp:
            raise Malformed(f"sample carries a timestamp: `{line[:120]}`")
        if exemplar is not None:
            if not openmetrics:
                raise Malformed(f"exemplar in text 0.0.4: `{line[:120]}`")
            if sum(len(text) for pair in read_pairs(exemplar) for text in pair) > 128:
                raise Malformed(f"exemplar labels longer than 128 characters: `{line[:120]}`")
            float(exemplar_value)
            exposition.exemplars += 1
        labels = [(label, canonical_edge(text) if label == "le" else text) for label, text in read_pairs(pairs)]
        exposition.add(name, labels, float(value))
    return exposition


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def unzigzag(value):
    return value >> 1 ^ -(value & 1)


def fields(message):
    """The fields of a protobuf message by number; repeated ones in order. Lengths are bytes, doubles are floats."""
    found, at = {}, 0
    while at < len(message):
        tag, at = read_varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = read_varint(message, at)
        elif wire == 1:
            value, at = struct.unpack_from("<d", message, at)[0], at + 8
        elif wire == 2:
            length, at = read_varint(message, at)
            value, at = message[at : at + length], at + length
            if len(value) != length:
                raise Malformed("a protobuf field is longer than its message")
        else:
            raise Malformed(f"protobuf wire type {wire}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def first(message, number, default):
    return message.get(number, [default])[0]


def packed(message, number):
    """A repeated integer field, whether packed or not."""
    for value in message.get(number, []):
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            item, at = read_varint(value, at)
            yield item


# io.prometheus.client.MetricType, and the field of a Metric that holds the value of each.
KINDS = {0: ("counter", 3), 1: ("gauge", 2), 3: ("untyped", 5), 4: ("histogram", 7)}


def read_native(histogram):
    """Field 5 is the schema; spans (12) say which indexes are populated, deltas (13) how much each count differs."""
    if 5 not in histogram:
        return None
    indexes, at = [], 0
    for span in histogram.get(12, []):
        span = fields(span)
        at += unzigzag(first(span, 1, 0))
        length = first(span, 2, 0)
        indexes += range(at, at + length)
        at += length
    deltas = [unzigzag(delta) for delta in packed(histogram, 13)]
    if len(deltas) != len(indexes):
        raise Malformed(f"native histogram with {len(indexes)} buckets in its spans and {len(deltas)} deltas")
    buckets, count = {}, 0
    for index, delta in zip(indexes, deltas, strict=True):
        count += delta
        buckets[index] = count
    return Native(unzigzag(first(histogram, 5, 0)), first(histogram, 7, 0), first(histogram, 1, 0), buckets)


def read_protobuf(body):
    exposition, at = Exposition(), 0
    while at < len(body):
        length, at = read_varint(body, at)
        family, at = fields(body[at : at + length]), at + length
        name = first(family, 1, b"").decode()
        number = first(family, 3, 0)
        if number not in KINDS:
            raise Malformed(f"`{name}` has metric type {number}")
        kind, value_field = KINDS[number]
        if name in exposition.types:
            raise Malformed(f"family `{name}` appears twice")
        exposition.types[name] = kind
        for metric in map(fields, family.get(4, [])):
            pairs = map(fields, metric.get(1, []))
            labels = [(first(pair, 1, b"").decode(), first(pair, 2, b"").decode()) for pair in pairs]
            if 6 in metric:
                raise Malformed(f"sample of `{name}` carries a timestamp")
            value = fields(first(metric, value_field, b""))
            if kind != "histogram":
                exposition.add(name, labels, first(value, 1, 0.0))
                continue
            count = first(value, 1, 0)
            edges = {}
            for bucket in map(fields, value.get(3, [])):
                edges[first(bucket, 2, 0.0)] = first(bucket, 1, 0)
                exposition.exemplars += 3 in bucket
            exposition.exemplars += len(value.get(16, []))
            if edges:
                edges.setdefault(math.inf, count)
            for edge, cumulative in edges.items():
                exposition.add(f"{name}_bucket", [*labels, ("le", canonical_edge(edge))], cumulative)
            exposition.add(f"{name}_count", labels, count)
            exposition.add(f"{name}_sum", labels, first(value, 2, 0.0))
            native = read_native(value)
            if native:
                exposition.native[name, tuple(sorted(labels))] = native
    return exposition


# --- HTTP -------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    content_type: str
    encoding: str
    body: bytes


def get(url, headers=()):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in dict(headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        encoding = response.getheader("Content-Encoding", "identity")
        return Answer(response.status, response.getheader("Content-Type", ""), encoding, body)
    finally:
        connection.close()


def scrape(url, format, compressed=False):
    headers = {"Accept": ACCEPT[format]} | ({"Accept-Encoding": "gzip"} if compressed else {})
    answer = get(url, headers)
    if answer.status != 200:
        raise Malformed(f"status {answer.status}")
    expected = "gzip" if compressed else "identity"
    if answer.encoding != expected:
        raise Malformed(f"Content-Encoding is `{answer.encoding}`, not `{expected}`")
    wrong = wrong_content_type(answer.content_type, format)
    if wrong:
        raise Malformed(wrong)
    try:
        body = gzip.decompress(answer.body) if compressed else answer.body
        return read_protobuf(body) if format == PROTOBUF else read_text(body, format == OPENMETRICS)
    except (IndexError, ValueError, struct.error, gzip.BadGzipFile) as error:
        raise Malformed(f"body cannot be read: {error}") from error


def wrong_content_type(value, format):
    media, *parameters = [part.strip() for part in value.split(";")]
    given = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
    expected, wanted = CONTENT_TYPE[format]
    if media != expected or any(given.get(name) != text for name, text in wanted.items()):
        return f"Content-Type is `{value}`; rule: `{expected}` with {wanted}"
    return None


# --- Checks of the exposition itself ----------------------------------------------------------------------------------


def problem_of(action):
    try:
        action()
    except (Malformed, OSError) as error:
        return str(error)
    return None


def check_formats(report, url):
    for format in (TEXT, OPENMETRICS, PROTOBUF):
        for compressed in (False, True):
            name = f"{format} is served and well-formed" + (", with gzip" if compressed else "")
            report.check(name, problem_of(lambda: scrape(url, format, compressed)))
    for accept, format in NEGOTIATIONS:
        shown = "absent" if accept is None else f"`{accept[:45]}{'...' if len(accept) > 45 else ''}`"
        answer = get(url, {} if accept is None else {"Accept": accept})
        report.check(f"Accept {shown} gives {format}", wrong_content_type(answer.content_type, format))


def check_agreement(report, url):
    """Values move between two requests, so text is fetched first and again last. A series at rest has the same value in
    both, and must have it in the other formats too; a few attempts catch each series at rest. One that never rests must
    at least lie between the two."""
    unequal_sets, agreed, apart = "never fetched", set(), {}
    for _ in range(ATTEMPTS):
        try:
            before, openmetrics, protobuf, after = (scrape(url, f) for f in (TEXT, OPENMETRICS, PROTOBUF, TEXT))
        except (Malformed, OSError) as error:
            report.check("all formats carry the same series", f"cannot be compared: {error}")
            return
        keys = before.samples.keys()
        if not keys == openmetrics.samples.keys() == protobuf.samples.keys() == after.samples.keys():
            unequal_sets = lacking(
                {TEXT: keys, OPENMETRICS: openmetrics.samples.keys(), PROTOBUF: protobuf.samples.keys()}
            )
            time.sleep(PAUSE)
            continue
        unequal_sets = None
        for key in keys - agreed:
            first, *others, last = (e.samples[key] for e in (before, openmetrics, protobuf, after))
            if same(first, last) and all(same(first, other) for other in others):
                agreed.add(key)
                apart.pop(key, None)
            elif same(first, last) or not all(min(first, last) <= other <= max(first, last) for other in others):
                apart[key] = f"{show(key)} is {first!r}, {others[0]!r}, {others[1]!r}"
        if agreed >= keys:
            break
        time.sleep(PAUSE)
    report.check("all formats carry the same series", unequal_sets)
    if unequal_sets:
        report.skip("all formats agree on every value", "their series differ")
    else:
        report.check(
            "all formats agree on every value", apart and f"text, OpenMetrics, protobuf: {some(apart.values())}"
        )


def same(one, other):
    return one == other or (math.isnan(one) and math.isnan(other))


def lacking(series_of):
    everything = set().union(*series_of.values())
    missing = {name: everything - series for name, series in series_of.items()}
    found = [f"{name} lacks {some(map(show, series))}" for name, series in missing.items() if series]
    return "; ".join(found) or "series appear at every scrape"


def classic_histograms(exposition):
    """(family, labels) -> {edge: cumulative count}"""
    found = {}
    for (name, labels), value in exposition.samples.items():
        edge = dict(labels).get("le")
        if name.endswith("_bucket") and edge is not None:
            rest = tuple(pair for pair in labels if pair[0] != "le")
            found.setdefault((name.removesuffix("_bucket"), rest), {})[float(edge)] = value
    return found


def wrong_classic(exposition):
    for (family, labels), edges in classic_histograms(exposition).items():
        counts = [edges[edge] for edge in sorted(edges)]
        if counts != sorted(counts):
            yield f"{show((family, labels))}: a bucket is smaller than the one before"
        elif edges.get(math.inf) != exposition.samples.get((f"{family}_count", labels)):
            yield f"{show((family, labels))}: the +Inf bucket is not the count"


def wrong_native(exposition):
    """Native bucket `i` of schema `s` covers (2^((i-1)/2^s), 2^(i/2^s)]. So for every classic edge the native buckets
    that lie wholly below it hold at most, and those that begin below it at least, what the classic bucket holds."""
    for key, edges in classic_histograms(exposition).items():
        native = exposition.native.get(key)
        if native is None:
            if key[0].endswith("_seconds"):
                yield f"{show(key)}: has no native histogram"
            continue
        if native.zero_count + sum(native.buckets.values()) != native.count:
            yield f"{show(key)}: native buckets do not add up to the count"
        for edge, cumulative in edges.items():
            if edge <= 0:
                continue
            # A tiny slack in the exponent: the rounding of powers, not of measurements.
            place = math.log2(edge) * 2**native.schema if edge < math.inf else math.inf
            at_most = sum(n for index, n in native.buckets.items() if index - 1 < place + 1e-6) + native.zero_count
            at_least = sum(n for index, n in native.buckets.items() if index <= place - 1e-6) + native.zero_count
            if not at_least <= cumulative <= at_most:
                yield f"{show(key)}: {cumulative:g} observations up to {edge:g}, natively {at_least} to {at_most}"
                break


def check_contents(report, url, promtool):
    try:
        text, openmetrics, protobuf = (scrape(url, format) for format in (TEXT, OPENMETRICS, PROTOBUF))
    except (Malformed, OSError) as error:
        report.check("the contents can be checked", str(error))
        return
    report.check(
        "probe metrics are there",
        None if any(name == f"{TTFT}_count" for name, _ in text.samples) else f"no `{TTFT}`; did any run succeed yet?",
    )
    report.check("classic histograms are cumulative and add up", some(wrong_classic(text)))
    report.check("native histograms are there, add up and agree with the classic ones", some(wrong_native(protobuf)))
    report.check("OpenMetrics carries exemplars", None if openmetrics.exemplars else "not one")
    lint = subprocess.run([promtool, "check", "metrics"], input=get(url).body, capture_output=True)
    report.check(
        "promtool finds nothing to complain about",
        lint.returncode and some((lint.stdout + lint.stderr).decode().splitlines()),
    )


# --- Real Prometheus --------------------------------------------------------------------------------------------------


def configuration(url, version):
    """One job per format, in JSON, which is YAML."""
    parts = urllib.parse.urlsplit(url)
    jobs = [
        {
            "job_name": format,
            "scheme": parts.scheme,
            "metrics_path": parts.path,
            "scrape_protocols": [protocol],
            "always_scrape_classic_histograms": True,
            "static_configs": [{"targets": [parts.netloc]}],
        }
        # From 3.8 on the feature flag means nothing any more, and 3.5 does not know the setting.
        | ({"scrape_native_histograms": True} if version >= (3, 8) else {})
        for format, protocol in SCRAPE_PROTOCOL.items()
    ]
    return json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs})


def version_of(binary):
    output = subprocess.run([binary, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", output)
    return tuple(map(int, match.groups())) if match else (0, 0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    def __init__(self, base):
        self.base = base

    def api(self, path, **parameters):
        answer = json.loads(get(f"{self.base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}").body)
        if answer["status"] != "success":
            raise Malformed(answer.get("error", "unknown error"))
        return answer["data"]

    def query(self, expression):
        """Labels -> value, of the finite values only."""
        result = self.api("query", query=expression)["result"]
        values = {tuple(sorted(sample["metric"].items())): float(sample["value"][1]) for sample in result}
        return {labels: value for labels, value in values.items() if math.isfinite(value)}


@contextlib.contextmanager
def running_prometheus(directory, url):
    binary = str(Path(directory, "prometheus"))
    with tempfile.TemporaryDirectory(prefix="sonde-prometheus-") as folder:
        config, log = Path(folder, "prometheus.yml"), Path(folder, "log")
        config.write_text(configuration(url, version_of(binary)))
        port = free_port()
        command = [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=native-histograms,exemplar-storage",
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield Prometheus(f"http://127.0.0.1:{port}"), log, process
        finally:
            process.terminate()
            process.wait(timeout=30)


def eventually(problem, deadline):
    """Asks until `problem()` finds none or the time is over; returns the last answer."""
    while True:
        try:
            found = problem()
        except (OSError, Malformed, ValueError, http.client.HTTPException) as error:
            found = str(error) or type(error).__name__
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def log_problem(log):
    lines = [
        line
        for line in log.read_text(errors="replace").splitlines()
        if re.search(r"level=(warn|error)", line, re.IGNORECASE)
    ]
    return some(lines, 2)


def scrape_problem(prometheus, job):
    targets = [t for t in prometheus.api("targets")["activeTargets"] if t["labels"]["job"] == job]
    if not targets or targets[0]["health"] != "up":
        return f"not up: {targets[0]['lastError'] if targets else 'no such target'}"
    if len(prometheus.query(f'up{{job="{job}"}} == 1')) != 1:
        return "`up` is not 1"
    if sum(prometheus.query(f'sum_over_time(up{{job="{job}"}}[1m])').values()) < 10:
        return "fewer than ten good scrapes"
    return None


# What Prometheus itself adds to a scrape, and labels that tell the jobs apart.
SERIES = '{{job="{job}", __name__!~"up|scrape_.*"}}'


def same_series_problem(prometheus):
    counted = {}
    for job in (TEXT, OPENMETRICS, PROTOBUF):
        counts = prometheus.query("count by (__name__) (" + SERIES.format(job=job) + ")")
        counted[job] = Counter({dict(labels)["__name__"]: int(count) for labels, count in counts.items()})
    # Native histograms live under the bare name, which the text formats do not have.
    for name in [name for name in counted[PROTOBUF] if f"{name}_bucket" in counted[PROTOBUF]]:
        del counted[PROTOBUF][name]
    if not counted[TEXT]:
        return "no series"
    apart = {
        n
        for other in (OPENMETRICS, PROTOBUF)
        for n in counted[TEXT] | counted[other]
        if counted[TEXT][n] != counted[other][n]
    }
    return apart and "numbers of series differ: " + some(f"{n} {[counted[job][n] for job in counted]}" for n in apart)


def exemplar_problem(prometheus):
    now = time.time()
    found = prometheus.api("query_exemplars", query=f'{{job="{OPENMETRICS}"}}', start=now - 600, end=now + 10)
    return None if any(series["exemplars"] for series in found) else "none stored"


def quantile_problem(prometheus, expression):
    values = prometheus.query(expression)
    if not values:
        return f"no finite value of `{expression}`; did runs succeed during the last minute?"
    return None if all(value > 0 for value in values.values()) else f"not above 0: {values}"


def check_prometheus(report, directory, url, patience):
    with running_prometheus(directory, url) as (prometheus, log, process):
        deadline = time.monotonic() + patience

        def check(name, problem):
            report.check(
                name,
                eventually(problem, deadline) if process.poll() is None else f"Prometheus ended: {log_problem(log)}",
            )

        for job in SCRAPE_PROTOCOL:
            check(f"Prometheus scrapes {job}", lambda: scrape_problem(prometheus, job))
        check("Prometheus stores the same series from every format", lambda: same_series_problem(prometheus))
        check("Prometheus stores exemplars", lambda: exemplar_problem(prometheus))
        for job in (TEXT, OPENMETRICS, PROTOBUF):
            expression = f'histogram_quantile(0.5, sum by (le) (rate({TTFT}_bucket{{job="{job}"}}[1m])))'
            check(f"Prometheus has a classic quantile from {job}", lambda: quantile_problem(prometheus, expression))
        expression = f'histogram_quantile(0.5, sum(rate({TTFT}{{job="{PROTOBUF}"}}[1m])))'
        check("Prometheus has a native quantile from protobuf", lambda: quantile_problem(prometheus, expression))
        report.check("Prometheus logs no warning", log_problem(log))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base_url")
    parser.add_argument("prometheus_dir", type=Path)
    parser.add_argument("--patience", type=float, default=120, metavar="SECONDS", help="how long Prometheus may take")
    arguments = parser.parse_args()
    url = arguments.base_url.rstrip("/") + "/metrics"
    for binary in ("prometheus", "promtool"):
        if not (arguments.prometheus_dir / binary).is_file():
            parser.error(f"`{arguments.prometheus_dir}` holds no `{binary}`; hint: scripts/tools prometheus")

    report = Report()
    try:
        get(url)
    except OSError as error:
        report.check("the daemon answers", f"{url}: {error}")
    else:
        check_formats(report, url)
        check_agreement(report, url)
        check_contents(report, url, str(arguments.prometheus_dir / "promtool"))
        check_prometheus(report, arguments.prometheus_dir, url, arguments.patience)
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
