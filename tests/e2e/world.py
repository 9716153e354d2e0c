"""The engine under test with its real senders, started and stopped in order."""

from __future__ import annotations

import contextlib
import string
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from exporters import Fleet
from harness import LOOPBACK, Process, Report, find_tool, free_port, http, metrics, poll
from reflection import Service, Watch

HERE = Path(__file__).parent
CONFIG = HERE / "sluice.yaml"
HOSTS = ["h1", "h2", "h3", "h4", "h5", "h6"]
REGION = "eu-west-1"


@dataclass
class World:
    """What the scenarios share."""

    report: Report
    sluice: Path
    work: Path
    addresses: dict[str, str] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    watches: list[Watch] = field(default_factory=list)
    deployments: list[str] = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        """Where the engine keeps its journal."""
        return self.work / "data"

    @property
    def gates(self) -> Service:
        """The service `sluice.v1.Gates`."""
        return self.services["sluice.v1.Gates"]

    @property
    def health(self) -> Service:
        """The service `grpc.health.v1.Health`."""
        return self.services["grpc.health.v1.Health"]

    def url(self, path: str) -> str:
        """A path of the engine's HTTP."""
        return f"http://{self.addresses['http']}{path}"

    def otlp_url(self, path: str) -> str:
        """A path of the engine's OTLP over HTTP."""
        return f"http://{self.addresses['otlp_http']}{path}"

    def metrics(self) -> dict[str, float]:
        """The engine's own metrics."""
        return metrics(self.url("/metrics"))

    def verdict(self, deployment: str) -> dict[str, Any]:
        """The verdict of a deployment, as HTTP gives it."""
        record: dict[str, Any] = http(self.url(f"/api/v1/deployments/{deployment}/verdict")).json()
        return record

    def begin(self, **fields: Any) -> Watch:
        """Begins a deployment and watches it."""
        watch = Watch(self.gates, **fields)
        self.watches.append(watch)
        self.deployments.append(watch.deployment)
        return watch

    def command(self, *arguments: str, server: str | None = None) -> Any:
        """Runs a client command of `sluice`."""
        server = server or self.addresses["grpc"]
        return subprocess.run(
            [str(self.sluice), *arguments, "--server", server],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@contextlib.contextmanager
def engine(world: World) -> Iterator[Process]:
    """Runs `sluice serve` on ports that the system chooses."""
    arguments = ["serve", "--config", str(CONFIG), "--data-dir", str(world.data_dir)]
    process = Process("sluice", [str(world.sluice), *arguments], world.work)
    with process:

        def announced() -> str:
            process.check_runs()
            return process.stdout.read_text()

        line = poll("sluice tells its addresses", announced, lambda text: text.endswith("\n"))
        words = line.removeprefix("listening ").split()
        world.addresses = dict(word.split("=", 1) for word in words)
        yield process


@contextlib.contextmanager
def channel(world: World) -> Iterator[grpc.Channel]:
    """Connects to the gates' gRPC, past any proxy."""
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(world.addresses["grpc"], options=options) as open_channel:
        yield open_channel


@dataclass
class Prometheus:
    """Prometheus and what it scrapes."""

    process: Process
    address: str

    def metrics(self) -> dict[str, float]:
        """Its own metrics."""
        return metrics(f"http://{self.address}/metrics")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Asks it for an instant vector."""
        answer = http(
            f"http://{self.address}/api/v1/query",
            f"query={expression}".encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result


@contextlib.contextmanager
def prometheus(world: World, fleet: Fleet) -> Iterator[Prometheus]:
    """Runs node-exporter, and Prometheus that scrapes it, the fleet and the engine."""
    node = f"{LOOPBACK}:{free_port()}"
    collectors = [f"--collector.{name}" for name in ("loadavg", "meminfo", "cpu")]
    node_command = [
        find_tool("prometheus-node-exporter"),
        f"--web.listen-address={node}",
        "--collector.disable-defaults",
        *collectors,
    ]
    address = f"{LOOPBACK}:{free_port()}"
    config = world.work / "prometheus.yaml"
    config.write_text(prometheus_config(world.addresses["http"], node, fleet))
    command = [
        find_tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={world.work / 'prometheus'}",
        f"--web.listen-address={address}",
    ]
    with (
        Process("node-exporter", node_command, world.work) as exporter,
        Process("prometheus", command, world.work) as process,
    ):

        def is_ready() -> bool:
            exporter.check_runs()
            process.check_runs()
            return http(f"http://{address}/-/ready").status == 200

        poll("Prometheus is ready", is_ready)
        yield Prometheus(process, address)


def prometheus_config(sluice: str, node: str, fleet: Fleet) -> str:
    """Fills the template: static targets, the host in a label of its own."""
    nodes = []
    hosts = []
    for host in fleet.hosts:
        labels = f"{{service: checkout, host: {host}, region: {REGION}}}"
        nodes.append(f'      - {{targets: ["{node}"], labels: {labels}}}')
        hosts.append(
            f"  - job_name: checkout-{host}\n    metrics_path: /{host}/metrics\n"
            f'    static_configs: [{{targets: ["{LOOPBACK}:{fleet.port}"], labels: {labels}}}]'
        )
    template = string.Template((HERE / "prometheus.yaml.template").read_text())
    return template.substitute(sluice=sluice, nodes="\n".join(nodes), hosts="\n".join(hosts))
