"""Debian's Alertmanager is told of verdicts; `amtool` reads back what it understood.

Can be run by itself against the program of `cargo build --bin sluice`:
`python3 tests/e2e/alert_scenarios.py --sluice target/debug/sluice --work target/e2e/alerts`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import LOOPBACK, Process, Report, find_tool, free_port, http, metrics, poll

# Alerts are sent again every second, and end by themselves four seconds after the last time.
CONFIGURATION = """
listen: {{grpc: "127.0.0.1:0", http: "127.0.0.1:0", otlp_grpc: "127.0.0.1:0", otlp_http: "127.0.0.1:0"}}
external_url: https://sluice.example
checks: {{}}
services: {{checkout: {{stages: [{{name: prod, regions: [eu, us], steps: [smoke]}}]}}}}
sinks:
  - {{alertmanager: {{url: "http://{address}", resend: 1s}}}}
"""

ALERTMANAGER = """
route: {receiver: nobody, group_by: [service]}
receivers: [{name: nobody}]
"""


@dataclass
class Alertmanager:
    """A real Alertmanager."""

    process: Process
    address: str

    def alerts(self, *matchers: str) -> list[dict[str, Any]]:
        """What fires there, as `amtool` reads it."""
        url = f"--alertmanager.url=http://{self.address}"
        command = [find_tool("amtool"), url, "--output=json", "alert", "query", *matchers]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        alerts: list[dict[str, Any]] = json.loads(asked.stdout or "[]") or []
        return alerts


@contextlib.contextmanager
def alertmanager(work: Path) -> Iterator[Alertmanager]:
    """Runs Alertmanager on loopback, without its gossip."""
    config = work / "alertmanager.yaml"
    config.write_text(ALERTMANAGER)
    address = f"{LOOPBACK}:{free_port()}"
    command = [
        find_tool("prometheus-alertmanager"),
        f"--config.file={config}",
        f"--storage.path={work / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with Process("alertmanager", command, work) as process:

        def is_ready() -> bool:
            process.check_runs()
            return http(f"http://{address}/-/ready").status == 200

        poll("Alertmanager is ready", is_ready)
        yield Alertmanager(process, address)


@dataclass
class Engine:
    """A `sluice serve` that tells Alertmanager."""

    process: Process
    addresses: dict[str, str] = field(default_factory=dict)

    def url(self, path: str) -> str:
        """A path of its HTTP."""
        return f"http://{self.addresses['http']}{path}"

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Tells it something."""
        headers = {"Content-Type": "application/json"}
        answer = http(self.url(path), json.dumps(body).encode(), headers)
        document: dict[str, Any] = answer.json()
        return document

    def begin(self, deployment: str, region: str, version: str) -> None:
        """Begins a deployment."""
        place = {"service": "checkout", "stage": "prod", "region": region}
        self.post("/api/v1/deployments", place | {"deployment": deployment, "version": version})

    def fail(self, deployment: str) -> None:
        """Lets a deployment fail at once."""
        step = {"step": "smoke", "outcome": "failed"}
        self.post(f"/api/v1/deployments/{deployment}/steps", step)


@contextlib.contextmanager
def engine(sluice: Path, config: Path, work: Path) -> Iterator[Engine]:
    """Runs the engine over its data directory."""
    arguments = ["serve", "--config", str(config), "--data-dir", str(work / "data")]
    with Process("sluice", [str(sluice), *arguments], work) as process:

        def announced() -> str:
            process.check_runs()
            return process.stdout.read_text()

        line = poll("sluice tells its addresses", announced, lambda text: text.endswith("\n"))
        words = line.removeprefix("listening ").split()
        yield Engine(process, dict(word.split("=", 1) for word in words))


def instant(text: str) -> datetime:
    """A time as Alertmanager writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def fires_and_resolves(report: Report, sluice: Engine, manager: Alertmanager) -> None:
    """A failed deployment fires until a new one begins in its place."""
    sluice.begin("d1", "eu", "v1")
    sluice.begin("d2", "us", "v1")
    report.equal("nothing fires while nothing failed", manager.alerts(), [])
    sluice.fail("d1")
    alert = poll("d1 fires", lambda: manager.alerts("deployment=d1"))[0]
    report.equal(
        "its labels",
        alert["labels"],
        {
            "alertname": "SluiceDeploymentFailed",
            "severity": "critical",
            "service": "checkout",
            "stage": "prod",
            "region": "eu",
            "deployment": "d1",
            "version": "v1",
        },
    )
    annotations = alert["annotations"]
    report.equal("its verdict", annotations["verdict"], "FAIL")
    report.check(
        "its reasons", "step smoke: failed" in annotations["description"], annotations
    )
    report.equal("its link", alert["generatorURL"], "https://sluice.example/#d1")
    now = datetime.now(timezone.utc)
    report.check("it ends by itself, later", now < instant(alert["endsAt"]), alert["endsAt"])
    report.equal("it is active", alert["status"]["state"], "active")
    again = poll(
        "it is sent again",
        lambda: manager.alerts("deployment=d1"),
        lambda seen: seen[0]["updatedAt"] > alert["updatedAt"] and seen[0]["endsAt"] > alert["endsAt"],
    )
    report.equal("and stays the same alert", again[0]["fingerprint"], alert["fingerprint"])
    report.equal("since the same time", again[0]["startsAt"], alert["startsAt"])
    report.equal("the other region does not fire", manager.alerts("region=us"), [])
    sluice.post("/api/v1/deployments/d1/end", {})
    report.check("its end alone repairs nothing", len(manager.alerts("deployment=d1")) == 1)
    sluice.begin("d3", "eu", "v2")
    poll("a new deployment in its place resolves it", lambda: not manager.alerts())
    report.check("a new deployment in its place resolves it", True)


def outlives(report: Report, sluice: Engine, manager: Alertmanager) -> None:
    """An engine that dies takes its alerts with it, and brings them back."""
    sluice.fail("d3")
    poll("d3 fires", lambda: manager.alerts("deployment=d3"))
    assert sluice.process.popen is not None
    sluice.process.popen.kill()
    sluice.process.popen.wait()
    poll("it resolves by itself", lambda: not manager.alerts(), seconds=30)
    report.check("an alert of an engine that was killed resolves by itself", True)


def comes_back(report: Report, sluice: Engine, manager: Alertmanager, work: Path) -> None:
    """A start goes on where the engine was killed."""
    alert = poll("d3 fires again", lambda: manager.alerts("deployment=d3"))[0]
    report.equal("it fires again after the start", alert["labels"]["version"], "v2")
    sent = metrics(sluice.url("/metrics"))
    name = 'sluice_sink_sent_total{sink="alertmanager"}'
    report.check("what was sent is counted", sent.get(name, 0.0) >= 1, sent.get(name))
    kinds = [
        (record["deployment"], record["kind"])
        for record in http(sluice.url("/api/v1/history")).json()["records"]
    ]
    for deployment, count in [("d1", 5), ("d2", 2), ("d3", 4)]:
        seen = [kind for of, kind in kinds if of == deployment]
        report.equal(f"the history of {deployment} is whole", len(seen), count)
    held = json.loads((work / "data/sinks/alertmanager.json").read_text())
    labels = [alert["labels"]["deployment"] for alert in held["told"]["firing"].values()]
    report.equal("what was told is remembered", labels, ["d3"])


def run(report: Report, sluice: Path, work: Path) -> None:
    """All scenarios against one Alertmanager."""
    with alertmanager(work) as manager:
        config = work / "sluice.yaml"
        config.write_text(CONFIGURATION.format(address=manager.address))
        with engine(sluice, config, work) as running:
            with report.scenario("an alert fires and is resolved"):
                fires_and_resolves(report, running, manager)
            with report.scenario("an engine that is killed"):
                outlives(report, running, manager)
        with engine(sluice, config, work) as running:
            with report.scenario("an engine that comes back"):
                comes_back(report, running, manager, work)


def main() -> int:
    """Runs everything; the last line is the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", type=Path, required=True, help="the program under test")
    parser.add_argument("--work", type=Path, required=True, help="logs and data of this run")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    report = Report()
    with report.scenario("Alertmanager"):
        run(report, arguments.sluice.resolve(), arguments.work.resolve())
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
