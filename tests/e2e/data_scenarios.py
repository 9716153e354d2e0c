"""What comes in: bad input beside good, OpenTelemetry, Prometheus, and how the engine counts it."""

from __future__ import annotations

import json
import subprocess
import time

from exporters import Fleet
from harness import Answer, find_tool, http, poll, total
from otel import Sender
from wire import REMOTE_WRITE, series, snappy
from world import Prometheus, World

PROTOBUF = {"Content-Type": "application/x-protobuf"}
# As a comparison needs a dozen values of the past.
HISTORY_SCRAPES = 20
JSON = {"Content-Type": "application/json"}


def probe_series(value: float, ahead_seconds: int = 0) -> bytes:
    """One sample of a series that a check selects, as remote write carries it."""
    millis = int((time.time() + ahead_seconds) * 1_000)
    labels = {"__name__": "probe_value", "service": "probe", "host": "p1"}
    return series(labels, [(millis, value)])


def probe_points(*values: object) -> bytes:
    """Points of a gauge, as OTLP/JSON carries them."""
    nanos = time.time_ns()
    points = [
        {"timeUnixNano": str(nanos + index), "asDouble": value}
        for index, value in enumerate(values)
    ]
    resource = {
        "attributes": [
            {"key": "service.name", "value": {"stringValue": "probe"}},
            {"key": "host.name", "value": {"stringValue": "p2"}},
        ]
    }
    metrics = [{"name": "probe_value", "gauge": {"dataPoints": points}}]
    document = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}
    return json.dumps(document).encode()


def bad_remote_write(world: World) -> None:
    """Refuses what is wrong with the right status, and goes on taking what is right."""
    report = world.report
    url = world.url("/api/v1/write")
    before = world.metrics()
    good = probe_series(1.0)
    for name, body, headers, status in [
        ("snappy garbage", b"\xff" * 64, REMOTE_WRITE, 400),
        ("a body without snappy", good, REMOTE_WRITE, 400),
        ("truncated protobuf", snappy(good[:-4]), REMOTE_WRITE, 400),
        ("a snappy bomb's length", b"\xff\xff\xff\xff\x0f\x00", REMOTE_WRITE, 413),
        ("a wrong content type", snappy(good), REMOTE_WRITE | {"Content-Type": "text/csv"}, 415),
        ("a wrong encoding", snappy(good), REMOTE_WRITE | {"Content-Encoding": "gzip"}, 415),
    ]:
        answer = http(url, body, headers)
        seen = (answer.status, answer.text)
        report.check(f"remote write of {name} is answered {status}", answer.status == status, seen)
    report.equal("remote write by GET is answered 405", http(url).status, 405)

    answer = http(url, snappy(probe_series(1.0)), REMOTE_WRITE)
    report.equal("a good write after bad ones is answered 204", answer.status, 204)
    report.equal("and says that one sample was written", written(answer), "1")
    answer = http(url, b"\x00", REMOTE_WRITE)
    report.equal("a write without series, as metadata is, is answered 204", answer.status, 204)

    mixed = snappy(probe_series(2.0) + probe_series(3.0, ahead_seconds=3_600))
    answer = http(url, mixed, REMOTE_WRITE)
    seen = (answer.status, answer.text)
    report.check("a sample an hour ahead makes it 400", answer.status == 400, seen)
    report.check("and the answer says why", "future" in answer.text, seen)
    report.equal("and the sample beside it is written", written(answer), "1")

    after = world.metrics()
    report.equal(
        "the counter of decoded samples has counted the three that could be read",
        grown(before, after, "sluice_decoded_samples_total", 'source="remote_write"'),
        3.0,
    )
    report.equal(
        "and the counter of refused requests the six others",
        grown(before, after, "sluice_rejected_requests_total", 'source="remote_write"'),
        6.0,
    )


def bad_otlp(world: World) -> None:
    """OTLP over HTTP refuses with a status of gRPC, and never a whole batch for one point."""
    report = world.report
    url = world.otlp_url("/v1/metrics")
    before = world.metrics()
    for name, path, body, headers, status in [
        ("truncated protobuf", "/v1/metrics", b"\x0a\x40\x0a", PROTOBUF, 400),
        ("truncated logs", "/v1/logs", b"\x0a\x40\x0a", PROTOBUF, 400),
        ("broken gzip", "/v1/metrics", b"\x00" * 9, PROTOBUF | {"Content-Encoding": "gzip"}, 400),
        ("a wrong content type", "/v1/metrics", b"a,b", {"Content-Type": "text/csv"}, 415),
        ("JSON that is no object", "/v1/metrics", b"[1]", JSON, 400),
        ("half a JSON document", "/v1/metrics", b'{"resourceMetrics": [', JSON, 400),
        ("a wrong path", "/v1/metric", b"{}", JSON, 404),
    ]:
        answer = http(world.otlp_url(path), body, headers)
        seen = (answer.status, answer.text)
        report.check(f"OTLP of {name} is answered {status}", answer.status == status, seen)
        if headers is JSON:
            # 3 is INVALID_ARGUMENT, 12 is UNIMPLEMENTED.
            report.check(
                "and its body is a google.rpc.Status", answer.json()["code"] in (3, 12), seen
            )
    answer = http(url, probe_points(1.5), JSON)
    report.equal("a good point after bad ones is answered 200", answer.status, 200)
    report.equal("with nothing rejected", answer.json(), {})
    for name, body in [
        ("a point of a wrong type beside a good one", probe_points(1.5, {"no": "number"})),
        ("metrics of a wrong type", b'{"resourceMetrics": "all"}'),
    ]:
        answer = http(url, body, JSON)
        seen = (answer.status, answer.text)
        rejected = answer.json().get("partialSuccess", {}).get("rejectedDataPoints")
        is_right = (answer.status, rejected) == (200, "1")
        report.check(f"{name} is answered 200 with one rejected", is_right, seen)
    after = world.metrics()
    report.equal(
        "both good points are counted",
        grown(before, after, "sluice_decoded_samples_total", 'source="otlp_http"'),
        2.0,
    )


def bad_api(world: World) -> None:
    """The gates' JSON names the field that is wrong."""
    report = world.report
    url = world.url("/api/v1/deployments")
    valid = {"service": "probe", "stage": "prod", "version": "v1"}
    for name, document, status, field in [
        ("a number for a service", valid | {"service": 3}, 400, "service"),
        ("a text for hosts", valid | {"one_box": "p1"}, 400, "one_box"),
        ("no version", {"service": "probe", "stage": "prod"}, 400, "version"),
        ("an unknown field", valid | {"hosts": []}, 400, "hosts"),
        ("an unknown service", valid | {"service": "nobody"}, 404, "service"),
        ("an unknown stage", valid | {"stage": "omega"}, 404, "stage"),
    ]:
        answer = http(url, json.dumps(document).encode(), JSON)
        seen = (answer.status, answer.text)
        is_right = answer.status == status and answer.json().get("field") == field
        report.check(f"a deployment with {name} is answered {status}, naming it", is_right, seen)
    report.equal("a deployment that is no JSON is answered 400", http(url, b"{", JSON).status, 400)
    answer = http(world.url("/api/v1/deployments/nothing/verdict"))
    report.equal("the verdict of an unknown deployment is answered 404", answer.status, 404)


def otel_is_counted(world: World, before: dict[str, float], senders: list[Sender]) -> None:
    """What the SDK says it sent is what the engine says it took."""
    for sender, source in zip(senders, ("otlp_grpc", "otlp_http"), strict=True):
        label = f'source="{source}"'
        sent = sender.counted
        world.report.check(
            f"the SDK exported over {source} without a failure",
            not sent.failures and sent.points > 20 and sent.log_records > 10,
            (sent.points, sent.log_records, sent.failures),
        )
        after = world.metrics()
        for what, name, wanted in [
            ("every data point", "sluice_decoded_samples_total", sent.points),
            ("every log record", "sluice_decoded_log_records_total", sent.log_records),
            ("no rejected request", "sluice_rejected_requests_total", 0),
            ("no rejected point", "sluice_rejected_samples_total", 0),
            ("no rejected log record", "sluice_rejected_log_records_total", 0),
        ]:
            seen = grown(before, after, name, label)
            world.report.equal(f"{source} counts {what} of the SDK", seen, float(wanted))


def wait_for_history(world: World, fleet: Fleet, before: dict[str, float]) -> None:
    """Waits until every host has been scraped often enough since Prometheus began to write."""
    name, label = "sluice_decoded_samples_total", 'source="remote_write"'
    poll("Prometheus writes", lambda: grown(before, world.metrics(), name, label))
    wanted = fleet.scrapes() + HISTORY_SCRAPES
    poll("the hosts have a history", fleet.scrapes, lambda count: count >= wanted, seconds=60)


def prometheus_is_counted(world: World, prometheus: Prometheus, before: dict[str, float]) -> None:
    """What Prometheus says it sent is what the engine says it took."""
    report = world.report
    sent = prometheus.metrics()
    for name in [
        "prometheus_remote_storage_samples_failed_total",
        "prometheus_remote_storage_samples_dropped_total",
        "prometheus_remote_storage_metadata_failed_total",
        "prometheus_remote_storage_samples_retried_total",
    ]:
        report.equal(f"{name} is 0", total(sent, name), 0.0)
    metadata = total(sent, "prometheus_remote_storage_metadata_total")
    report.check("Prometheus has sent metadata too", metadata > 0, metadata)

    def told() -> float:
        return total(world.metrics(), "sluice_metadata_metrics")

    known = poll("the engine knows metrics by it", told, lambda count: count > 100)
    report.check("the engine knows metrics by it", True, known)
    ignored = total(world.metrics(), "sluice_metadata_ignored_total")
    report.equal("and has ignored none", ignored, 0.0)
    wanted = total(sent, "prometheus_remote_storage_samples_total")
    report.check("Prometheus has sent thousands of samples", wanted > 5_000, wanted)
    waiting = total(sent, "prometheus_remote_storage_samples_pending")
    name, label = "sluice_decoded_samples_total", 'source="remote_write"'

    def taken() -> float:
        return grown(before, world.metrics(), name, label)

    # The counter of Prometheus may already hold what is on its way.
    seen = poll("the engine has the samples", taken, lambda count: count >= wanted - waiting)
    report.check("the engine has decoded what Prometheus sent", True, seen)
    refused = grown(before, world.metrics(), "sluice_rejected_samples_total", label)
    report.equal("and has rejected none", refused, 0.0)
    up = prometheus.query('up{job="sluice"}')
    values = [sample["value"][1] for sample in up]
    report.equal("Prometheus can scrape the engine", values, ["1"])


def exposition(world: World) -> None:
    """The engine's own metrics and probes."""
    report = world.report
    answer = http(world.url("/metrics"))
    lint = subprocess.run(
        [find_tool("promtool"), "check", "metrics"],
        input=answer.body,
        capture_output=True,
        timeout=30,
        check=False,
    )
    seen = (lint.returncode, lint.stdout.decode(), lint.stderr.decode())
    report.check("promtool finds nothing wrong with /metrics", lint.returncode == 0, seen)
    for path in ("/-/healthy", "/-/ready", "/"):
        report.equal(f"{path} is answered 200", http(world.url(path)).status, 200)


def written(answer: Answer) -> str | None:
    """How many samples the engine says it wrote."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return headers.get("x-prometheus-remote-write-samples-written")


def grown(before: dict[str, float], after: dict[str, float], name: str, label: str) -> float:
    """By how much a family of counters has grown."""
    return total(after, name, label) - total(before, name, label)
