"""Real producers write to a mock Kafka cluster: kcat, rsyslog and collectd, as Debian has them.

Can be run by itself against the programs of `cargo build --examples`:
`python3 tests/e2e/kafka_scenarios.py --programs target/debug/examples --work target/e2e/kafka`.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from harness import LOOPBACK, Failure, Process, Report, find_tool, free_port, poll

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


def run(report: Report, programs: Path, work: Path) -> None:
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


def main() -> int:
    """Runs everything; the last line is the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="folder of the examples")
    parser.add_argument("--work", type=Path, required=True, help="logs and data of this run")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    report = Report()
    run(report, arguments.programs.resolve(), arguments.work.resolve())
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
