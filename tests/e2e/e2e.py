"""Runs the scenarios in order against one engine, and counts what passed and what failed."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path

import data_scenarios as data
import gate_scenarios as gates
from exporters import Fleet
from harness import Process, Report
from otel import Sender
from world import HOSTS, World, channel, engine, prometheus


def run(world: World) -> None:
    """All scenarios, from the first bad byte to the replay of the journal."""
    with engine(world) as process, channel(world) as connection:
        scenarios(world, process, connection)


def scenarios(world: World, process: Process, connection: object) -> None:
    """The scenarios that need a running engine, then its end."""
    report = world.report
    # Before anybody else writes, so that the counters can be told to the unit.
    with report.scenario("bad input beside good: remote write"):
        data.bad_remote_write(world)
    with report.scenario("bad input beside good: OTLP"):
        data.bad_otlp(world)
    with report.scenario("bad input beside good: the gates' JSON"):
        data.bad_api(world)
    with report.scenario("a gRPC client that knows only reflection"):
        gates.discover(world, connection)
        gates.errors(world)
    with report.scenario("Prometheus, node-exporter and the gates"), Fleet(HOSTS) as fleet:
        before = world.metrics()
        with prometheus(world, fleet) as scraper:
            with report.scenario("OpenTelemetry and the gates"):
                open_telemetry(world)
            data.wait_for_history(world, fleet, before)
            with report.scenario("a bad version"):
                gates.bad_rollout(world, fleet)
            with report.scenario("a good version"):
                gates.good_rollout(world, fleet)
            with report.scenario("the command line"):
                gates.command_line(world)
            with report.scenario("Prometheus' own account"):
                data.prometheus_is_counted(world, scraper, before)
            with report.scenario("the engine's own metrics"):
                data.exposition(world)
            with report.scenario("live equals replay"):
                live = gates.close(world)
                gates.stop(world, process)
                gates.replay(world, live)


def open_telemetry(world: World) -> None:
    """Hosts that send with the SDK, and gates over them."""
    before = world.metrics()
    over_grpc = Sender.over_grpc("o1", world.addresses["otlp_grpc"])
    over_http = Sender.over_http("o2", world.addresses["otlp_http"])
    with over_grpc, over_http:
        good, bad = gates.orders_rollouts(world, over_http)
        gates.orders_verdicts(world, good, bad)
    data.otel_is_counted(world, before, [over_grpc, over_http])


def main() -> int:
    """Runs everything; the last line is the count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sluice", type=Path, required=True, help="the program under test")
    parser.add_argument("--work", type=Path, required=True, help="logs and data of this run")
    arguments = parser.parse_args()
    # Everything here is on loopback; a proxy of the environment would only stand in the way.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    # Told to end, it still stops what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    report = Report()
    world = World(report, arguments.sluice.resolve(), arguments.work.resolve())
    with report.scenario("the whole test"):
        run(world)
    if report.failed:
        for log in sorted(world.work.glob("*.stderr")):
            print(f"-- end of {log.name}")
            print("\n".join(log.read_text(errors="replace").splitlines()[-25:]))
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
