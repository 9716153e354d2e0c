"""Two kinds of hosts that send with the OpenTelemetry SDK: over gRPC, and over HTTP/protobuf."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GrpcMetrics,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HttpMetrics,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

ROUND_SECONDS = 0.5
ERRORS_PER_ROUND = 4


class Counted:
    """Counts what an exporter was given, and what it said."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.points = 0
        self.log_records = 0
        self.failures: list[str] = []

    def exported(self, points: int, log_records: int, result: Any) -> None:
        """Takes note of one export."""
        with self.lock:
            if result.name == "SUCCESS":
                self.points += points
                self.log_records += log_records
            else:
                self.failures.append(str(result))


def count_metrics(exporter: Any, counted: Counted) -> Any:
    """Counts the data points that an exporter of metrics sends."""
    export = exporter.export

    def counting(data: Any, *arguments: Any, **named: Any) -> MetricExportResult:
        result: MetricExportResult = export(data, *arguments, **named)
        points = sum(
            len(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        counted.exported(points, 0, result)
        return result

    exporter.export = counting
    return exporter


def count_logs(exporter: Any, counted: Counted) -> Any:
    """Counts the records that an exporter of logs sends."""
    export = exporter.export

    def counting(batch: Sequence[Any]) -> Any:
        result = export(batch)
        counted.exported(0, len(batch), result)
        return result

    exporter.export = counting
    return exporter


class Sender:
    """A host of the service `orders` that sends metrics and logs until its context ends."""

    def __init__(self, host: str, metrics: Any, logs: Any) -> None:
        self.counted = Counted()
        self.is_sick = False
        resource = Resource.create(
            {"service.name": "orders", "host.name": host, "service.version": "v1"}
        )
        # Sent by hand, so that what was sent is known exactly.
        reader = PeriodicExportingMetricReader(
            count_metrics(metrics, self.counted), export_interval_millis=float("inf")
        )
        self.meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        self.loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self.loggers.add_log_record_processor(
            BatchLogRecordProcessor(count_logs(logs, self.counted))
        )
        self.random = random.Random(host)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    @staticmethod
    def over_grpc(host: str, address: str) -> Sender:
        """Sends over gRPC."""
        return Sender(
            host,
            GrpcMetrics(endpoint=f"http://{address}", insecure=True),
            GrpcLogs(endpoint=f"http://{address}", insecure=True),
        )

    @staticmethod
    def over_http(host: str, address: str) -> Sender:
        """Sends over HTTP with protobuf."""
        return Sender(
            host,
            HttpMetrics(endpoint=f"http://{address}/v1/metrics"),
            HttpLogs(endpoint=f"http://{address}/v1/logs"),
        )

    def __enter__(self) -> Sender:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.thread.join(10.0)
        self.meters.shutdown()
        self.loggers.shutdown()

    def run(self) -> None:
        """Works and sends, round by round."""
        meter = self.meters.get_meter("orders")
        orders = meter.create_counter("orders", unit="1")
        seconds = meter.create_histogram("order.duration", unit="s")
        open_orders = meter.create_gauge("orders.open", unit="1")
        log = self.loggers.get_logger("orders")
        while not self.ending.wait(ROUND_SECONDS):
            for _ in range(self.random.randint(3, 6)):
                orders.add(1, {"kind": "web"})
                seconds.record(self.random.uniform(0.01, 0.2))
            open_orders.set(self.random.randint(0, 9))
            log.emit(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=f"order {self.random.randint(1, 9_999)} taken",
                attributes={"kind": "web"},
            )
            for _ in range(ERRORS_PER_ROUND if self.is_sick else 0):
                log.emit(
                    timestamp=time.time_ns(),
                    severity_number=SeverityNumber.ERROR,
                    severity_text="ERROR",
                    body=f"order {self.random.randint(1, 9_999)} lost: no stock",
                )
            self.meters.force_flush()
            self.loggers.force_flush()
