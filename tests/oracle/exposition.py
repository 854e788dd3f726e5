"""Reads what Prometheus reads, text 0.0.4, OpenMetrics 1.0 and protobuf, into one shape. Standard library only.

Own readers on purpose: they share no code with the daemon's encoders, and refuse what Prometheus would forgive.
"""

import math
import re
import struct
from dataclasses import dataclass, field


class Malformed(Exception):
    """Not what the format promises."""


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
    r"([a-zA-Z_:][\w:]*)"  # name
    rf"(?:\{{((?:{PAIR}(?:,{PAIR})*,?)?)\}})?"  # labels
    r" (\S+)(?: (-?[\d.]+))?"  # value, timestamp
    rf"(?: # \{{((?:{PAIR}(?:,{PAIR})*)?)\}} (\S+)(?: ([\d.]+))?)?"  # exemplar: labels, value, timestamp
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
    try:
        return read_families(body)
    except (IndexError, struct.error) as error:
        raise Malformed(f"protobuf ends too early: {error}") from error


def read_families(body):
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
