"""Real producers write to a mock Kafka cluster: kcat, rsyslog and collectd, as Debian has them.

What Sluice makes of the messages is looked at one by one, and through `sluice serve` to its verdicts.
Can be run by itself against the programs of `cargo build --bins --examples`:
`python3 tests/e2e/kafka_scenarios.py --sluice target/debug/sluice --programs target/debug/examples \
    --work target/e2e/kafka`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness import LOOPBACK, Failure, Process, Report, find_tool, free_port, http, metrics, poll, total

Self = TypeVar("Self", bound="Program")
PREFIX = "mock-cluster "

CONFIGURATION = """
checks: {{}}
services: {{s: {{stages: [{{name: a, steps: [t]}}]}}}}
sources:
  - kafka:
      brokers: ["{address}"]
      start: earliest
      topics:
        flat: {{format: json-samples}}
        applogs: {{format: json-logs}}
        collectd: {{format: json-samples}}
"""

# Buckets of a second, so that a bake takes seconds.
ENGINE = """
listen: {{grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}}
resolution: 1s
lateness: 5s
checks:
  cpu: {{metric: cpu_busy_ratio, bounds: {{max: 0.9, for: 2s}}}}
  written: {{metric: cpu_busy_ratio, absent: 5s}}
services:
  checkout: {{stages: [{{name: prod, bake: 25s, grace: 2s, checks: [cpu, written]}}]}}
sources:
  - kafka: {{brokers: ["{address}"], blind_after: 5s, topics: {{samples: {{format: json-samples}}}}}}
"""

RSYSLOG = """
module(load="imtcp")
module(load="omkafka")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="flat" type="list" option.jsonf="on") {{
  property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="body" name="msg" format="jsonf")
  property(outname="host.name" name="hostname" format="jsonf")
  property(outname="service.name" name="programname" format="jsonf")
}}
action(type="omkafka" broker=["{address}"] topic="applogs" template="flat"
  confParam=["compression.codec=snappy"] errorFile="{work}/rsyslog.errors")
"""

COLLECTD = """
Hostname "h1"
Interval 1
LoadPlugin load
LoadPlugin write_kafka
<Plugin write_kafka>
  Property "metadata.broker.list" "{address}"
  <Topic "collectd">
    Format JSON
  </Topic>
</Plugin>
"""


@dataclass
class Program:
    """A process that is spoken to over its input, and ends with it."""

    command: list[str]
    stdout: Path
    popen: subprocess.Popen[str] | None = field(default=None, init=False)

    def __enter__(self: Self) -> Self:
        with self.stdout.open("w") as out, self.stdout.with_suffix(".stderr").open("w") as err:
            self.popen = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=out, stderr=err, text=True
            )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.popen is not None and self.popen.stdin is not None
        self.popen.stdin.close()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def lines(self) -> list[str]:
        """What it has printed, whole lines only; fails at once when it has ended."""
        assert self.popen is not None
        if self.popen.poll() is not None:
            raise Failure(f"{self.command[0]} ended with {self.popen.returncode}")
        text = self.stdout.read_text()
        return text[: text.rfind("\n") + 1].splitlines()


class Cluster(Program):
    """The mock cluster."""

    def answers(self) -> list[str]:
        """What it has answered: its address, then a word for each command."""
        return [
            line.removeprefix(PREFIX) for line in self.lines() if line.startswith(PREFIX)
        ]

    def address(self) -> str:
        """The address of its broker."""
        return poll("the cluster tells its address", self.answers)[0]

    def tell(self, command: str) -> None:
        """Makes it do something."""
        assert self.popen is not None and self.popen.stdin is not None
        before = len(self.answers())
        self.popen.stdin.write(command + "\n")
        self.popen.stdin.flush()
        answers = poll("an answer", self.answers, lambda seen: len(seen) > before)
        if answers[before] != "ok":
            raise Failure(f"{command}: {answers[before]}")


class Reader(Program):
    """What Sluice makes of the messages."""

    def of(self, topic: str) -> list[dict[str, Any]]:
        """What came of the messages of a topic."""
        records = [json.loads(line) for line in self.lines()]
        return [record for record in records if record.get("topic") == topic]

    def logs(self) -> list[dict[str, Any]]:
        """The log records."""
        return [log for record in self.of("applogs") for log in record["logs"]]


def kcat(report: Report, address: str, reader: Reader) -> None:
    """Samples, a message for each line, with a bad one between them."""
    good = 200
    lines = [
        json.dumps({"timestamp": time.time(), "metric": "up", "value": "1", "host": f"h{number}"})
        for number in range(good)
    ]
    lines.insert(100, '{"timestamp": 1, "metric": "up"')
    command = [find_tool("kcat"), "-P", "-b", address, "-t", "flat", "-z", "zstd"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True, timeout=30)
    seen = poll("kcat's messages", lambda: reader.of("flat"), lambda seen: len(seen) >= good + 1)
    series = sorted(block["series"] for record in seen for block in record["series"])
    wanted = sorted(f'up{{host="h{number}"}}' for number in range(good))
    report.equal("every sample of kcat is read once", series, wanted)
    rejects = [record["rejects"] for record in seen if record["rejects"]]
    report.check("its bad message is a reject", len(rejects) == 1, rejects)


def rsyslog(report: Report, address: str, reader: Reader, work: Path) -> None:
    """Log records over syslog, through rsyslog's template for flat JSON."""
    count = 100
    port = free_port()
    config = work / "rsyslog.conf"
    config.write_text(RSYSLOG.format(port=port, address=address, work=work))
    pid = work / "rsyslog.pid"
    command = [find_tool("rsyslogd"), "-n", "-f", str(config), "-i", str(pid)]
    with Process("rsyslog", command, work) as process:

        def connect() -> socket.socket:
            process.check_runs()
            return socket.create_connection((LOOPBACK, port), timeout=5)

        with poll("rsyslog listens", connect) as sender:
            for number in range(count):
                # Facility user, severity err.
                line = f"<11>1 2026-03-01T10:00:00.{number:03}Z h1 checkout - - - order {number} \"lost\"\n"
                sender.sendall(line.encode())
        logs = poll("rsyslog's records", reader.logs, lambda logs: len(logs) >= count)
    bodies = sorted(log["body"].strip() for log in logs)
    wanted = sorted(f'order {number} "lost"' for number in range(count))
    report.equal("every record of rsyslog is read once", bodies, wanted)
    report.equal("its severity is read", {log["severity"] for log in logs}, {"ERROR"})
    labels = {log["attributes"] for log in logs}
    report.equal("its host and service", labels, {'{host.name="h1",service.name="checkout"}'})
    times = sorted(log["at"] for log in logs)
    report.check("its time is read", times[0].startswith("2026-03-01T10:00:00"), times[0])


def collectd(report: Report, address: str, reader: Reader, work: Path) -> None:
    """A shape that is not read: refused and counted, never taken for something else."""
    config = work / "collectd.conf"
    config.write_text(COLLECTD.format(address=address))
    command = [find_tool("collectd"), "-f", "-C", str(config), "-P", str(work / "collectd.pid")]
    with Process("collectd", command, work) as process:

        def messages() -> list[dict[str, Any]]:
            process.check_runs()
            return reader.of("collectd")

        seen = poll("collectd's messages", messages, lambda seen: len(seen) >= 2)
    report.check("no sample is made of collectd's own shape", not any(r["series"] for r in seen), seen)
    report.check("each of its messages is a reject", all(r["rejects"] for r in seen), seen)


@dataclass
class Engine:
    """`sluice serve` with a Kafka source."""

    process: Process
    at: str = ""

    def announce(self) -> None:
        """Waits until it tells its address."""

        def announced() -> str:
            self.process.check_runs()
            return self.process.stdout.read_text()

        line = poll("sluice tells its addresses", announced, lambda text: text.endswith("\n"))
        words = dict(word.split("=", 1) for word in line.removeprefix("listening ").split())
        self.at = f"http://{words['http']}"

    def metrics(self) -> dict[str, float]:
        """Its own metrics."""
        return metrics(f"{self.at}/metrics")

    def begin(self, deployment: str, host: str) -> None:
        """Begins a deployment on one host."""
        body = {
            "deployment": deployment,
            "service": "checkout",
            "stage": "prod",
            "version": "v2",
            "one_box": [host],
        }
        headers = {"Content-Type": "application/json"}
        answer = http(f"{self.at}/api/v1/deployments", json.dumps(body).encode(), headers)
        if answer.status != 200:
            raise Failure(f"begin {deployment}: {answer.status} {answer.text}")

    def verdict(self, deployment: str) -> dict[str, Any]:
        """The verdict of a deployment."""
        record: dict[str, Any] = http(f"{self.at}/api/v1/deployments/{deployment}/verdict").json()
        return record


class Writing:
    """Writes samples of a few hosts through kcat until its context ends; h2 is a bad one."""

    def __init__(self, address: str) -> None:
        command = [find_tool("kcat"), "-P", "-b", address, "-t", "samples", "-X", "linger.ms=5"]
        self.kcat = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.write)
        self.written = 0

    def write(self) -> None:
        """A sample of each host, every quarter of a second; kcat gives up when its broker is away."""
        assert self.kcat.stdin is not None
        while not self.over.wait(0.25) and self.kcat.poll() is None:
            for host in ("h1", "h2", "h3"):
                sample = {
                    "timestamp": time.time(),
                    "metric": "cpu_busy_ratio",
                    # A value that never moves proves nothing.
                    "value": (0.96 if host == "h2" else 0.4) + self.written % 7 / 1000,
                    "host": host,
                    "service": "checkout",
                }
                self.written += 1
                with contextlib.suppress(BrokenPipeError):
                    self.kcat.stdin.write(json.dumps(sample) + "\n")
            with contextlib.suppress(BrokenPipeError):
                self.kcat.stdin.flush()

    def __enter__(self) -> Writing:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        assert self.kcat.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.kcat.stdin.close()
        try:
            self.kcat.wait(10)
        except subprocess.TimeoutExpired:
            self.kcat.kill()
            self.kcat.wait()


def serve(report: Report, sluice: Path, cluster: Cluster, work: Path) -> None:
    """Messages become verdicts, over a kill -9 and over an outage of the broker."""
    config = work / "engine.yaml"
    config.write_text(ENGINE.format(address=cluster.address()))
    data = work / "engine.data"
    command = [str(sluice), "serve", "--config", str(config), "--data-dir", str(data)]

    def is_up(engine: Engine) -> Callable[[], float]:
        return lambda: engine.metrics().get('sluice_kafka_topic_up{topic="samples"}', 0)

    with Process("engine", command, work) as process:
        engine = Engine(process)
        engine.announce()
        poll("the topic is seen", is_up(engine), seconds=40)
        with Writing(cluster.address()) as writing:
            poll("samples are read", lambda: total(engine.metrics(), "sluice_accepted_samples_total") > 20)
            engine.begin("good", "h1")
            engine.begin("bad", "h2")
            bad = poll(
                "a verdict on the bad host",
                lambda: engine.verdict("bad"),
                lambda seen: seen["verdict"] not in ("PENDING",),
            )
            report.equal("the bad host fails", bad["verdict"], "FAIL")
            before = total(engine.metrics(), "sluice_accepted_samples_total")
            assert process.popen is not None
            process.popen.kill()
            process.popen.wait()
            with Process("engine-again", command, work) as again:
                engine = Engine(again)
                engine.announce()
                good = poll(
                    "a verdict on the good host",
                    lambda: engine.verdict("good"),
                    lambda seen: seen.get("verdict") not in (None, "PENDING"),
                    seconds=60,
                )
                report.equal("the good host passes over a kill -9", good["verdict"], "PASS")
                report.equal("the bad host still fails", engine.verdict("bad")["verdict"], "FAIL")
                seen = engine.metrics()
                accepted = total(seen, "sluice_accepted_samples_total")
                report.check("nothing that was read is lost", before <= accepted <= writing.written, accepted)
                report.equal("no sample is late", total(seen, "sluice_lost_samples_total"), 0)
                report.equal("no sample comes twice", total(seen, "sluice_duplicate_samples_total"), 0)
                outage(report, engine, cluster)


def outage(report: Report, engine: Engine, cluster: Cluster) -> None:
    """A broker that is away: what was healthy before is not known to be now."""
    engine.begin("blind", "h1")
    cluster.tell("down -1")
    poll(
        "the topic is down",
        lambda: total(engine.metrics(), "sluice_kafka_topic_up"),
        lambda up: up == 0,
        seconds=90,
    )
    blind = poll(
        "a verdict that names the outage",
        lambda: engine.verdict("blind"),
        lambda seen: "lost_in_kafka" in json.dumps(seen),
        seconds=30,
    )
    report.equal("without its broker nothing passes", blind["verdict"], "NO_DATA")
    cluster.tell("up -1")
    poll(
        "the topic is seen again",
        lambda: total(engine.metrics(), "sluice_kafka_topic_up"),
        lambda up: up == 1,
        seconds=60,
    )
    report.equal("nor does it afterwards", engine.verdict("blind")["verdict"], "NO_DATA")


def run(report: Report, sluice: Path, programs: Path, work: Path) -> None:
    """All producers against one cluster."""
    cluster = Cluster([str(programs / "mock_cluster"), "1"], work / "cluster.stdout")
    with cluster:
        address = cluster.address()
        for topic in ("flat", "applogs", "collectd"):
            cluster.tell(f"create {topic} 3")
        config = work / "kafka.yaml"
        config.write_text(CONFIGURATION.format(address=address))
        reader = Reader([str(programs / "read_topics"), str(config)], work / "reader.stdout")
        with reader:
            with report.scenario("kcat writes samples"):
                kcat(report, address, reader)
            with report.scenario("rsyslog writes log records"):
                rsyslog(report, address, reader, work)
            with report.scenario("collectd writes what is not read"):
                collectd(report, address, reader, work)
        cluster.tell("create samples 2")
        with report.scenario("samples through Kafka to verdicts"):
            serve(report, sluice, cluster, work)


def main() -> int:
    """Runs everything; the last line is the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", type=Path, required=True, help="the program under test")
    parser.add_argument("--programs", type=Path, required=True, help="folder of the examples")
    parser.add_argument("--work", type=Path, required=True, help="logs and data of this run")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    report = Report()
    sluice, programs = arguments.sluice.resolve(), arguments.programs.resolve()
    run(report, sluice, programs, arguments.work.resolve())
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
