"""What goes out: verdicts over gRPC, HTTP and the command line, live and in a replay."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import grpc

from exporters import Fleet
from harness import LOOPBACK, Process, free_port, http, poll
from otel import Sender
from reflection import VERSIONS, Reflection, Service, Watch, enum_name
from world import CONFIG, REGION, World

SERVING, NOT_SERVING = 1, 2


def discover(world: World, channel: grpc.Channel) -> None:
    """Learns the services by reflection, in both versions of it."""
    report = world.report
    for version in VERSIONS:
        wanted = {"sluice.v1.Gates", "grpc.health.v1.Health", version}
        reflection = Reflection(channel, version)
        listed = reflection.services()
        report.require(f"{version} lists the services", wanted <= set(listed), listed)
        for name in ("sluice.v1.Gates", "grpc.health.v1.Health"):
            descriptor = reflection.service(name)
            world.services[name] = Service(channel, descriptor)
    methods = set(world.gates.methods)
    known = {"Begin", "ReportStep", "End", "Bypass", "GetVerdict", "WatchVerdict"}
    known |= {"MayPromote", "ListDeployments", "ListVerdicts"}
    report.check("reflection tells the methods of the gates", known <= methods, methods)


def errors(world: World) -> None:
    """Wrong questions get the code that the protocol promises."""
    report, gates = world.report, world.gates
    begin: dict[str, Any] = {
        "service": "checkout",
        "stage": "gamma",
        "version": "v1",
        "deployment": "taken",
    }
    gates.call("Begin", **begin)
    world.deployments.append("taken")
    new = begin | {"deployment": "new"}
    elsewhere = {"stage": "onebox", "region": "mars-1"}
    code = grpc.StatusCode
    for name, method, fields, wanted in [
        ("an unknown service", "Begin", new | {"service": "nobody"}, code.NOT_FOUND),
        ("an unknown stage", "Begin", new | {"stage": "omega"}, code.NOT_FOUND),
        ("an unknown region", "Begin", new | elsewhere, code.INVALID_ARGUMENT),
        ("no version", "Begin", new | {"version": ""}, code.INVALID_ARGUMENT),
        ("an id that is taken", "Begin", begin | {"version": "v2"}, code.ALREADY_EXISTS),
        ("the same begin again", "Begin", begin, code.OK),
        ("an unknown step", "ReportStep", step("taken", "dance"), code.INVALID_ARGUMENT),
        (
            "a step without outcome",
            "ReportStep",
            step("taken", "smoke-tests", 0),
            code.INVALID_ARGUMENT,
        ),
        ("a step of nobody", "ReportStep", step("nothing", "smoke-tests"), code.NOT_FOUND),
        ("the verdict of nobody", "GetVerdict", {"deployment": "nothing"}, code.NOT_FOUND),
        ("the end of nobody", "End", {"deployment": "nothing"}, code.NOT_FOUND),
        ("no deployment", "GetVerdict", {}, code.INVALID_ARGUMENT),
    ]:
        seen = gates.status(method, **fields)
        report.equal(f"{method} with {name} is answered {wanted.name}", seen.name, wanted.name)
    for name, wanted in [("", code.OK), ("gate/checkout/omega", code.NOT_FOUND)]:
        seen = world.health.status("Check", service=name)
        report.equal(f"health of {name!r} is answered {wanted.name}", seen.name, wanted.name)
    gates.call("End", deployment="taken")


def step(deployment: str, name: str, outcome: int = 1) -> dict[str, Any]:
    """A report of a step; 1 is passed, 2 is failed."""
    return {"deployment": deployment, "step": name, "outcome": outcome}


def bad_rollout(world: World, fleet: Fleet) -> None:
    """A one-box that errs, slows down or falls silent fails its gate, with its name."""
    report = world.report
    others = ["h1", "h2", "h4", "h6"]
    same = {"service": "checkout", "region": REGION, "version": "v2", "fleet": others}
    bad = world.begin(deployment="bad", stage="onebox", one_box=["h3"], **same)
    slow = world.begin(deployment="slow", stage="latency", one_box=["h3"], **same)
    silent = world.begin(deployment="silent", stage="presence", one_box=["h5"], **same)
    fleet.deploy("h3")
    for watch in (bad, slow, silent):
        report.equal(f"{watch.deployment} begins as PENDING", watch.states(), ["PENDING"])
    while_pending(world, bad)

    fleet.change("h3", is_sick=True)
    fleet.change("h5", is_silent=True)
    report.equal("health of the gate is NOT_SERVING", gate_health(world, "onebox"), NOT_SERVING)
    for watch, checks, host in [
        (bad, ("errors", "latency"), "h3"),
        (slow, ("latency",), "h3"),
        (silent, ("present",), "h5"),
    ]:
        with_failure(world, watch, checks, host)
    report.equal("a failed gate is NOT_SERVING", gate_health(world, "onebox"), NOT_SERVING)
    fleet.change("h3")
    fleet.change("h5")


def while_pending(world: World, watch: Watch) -> None:
    """A gate in its bake says what it waits for, to everybody who asks."""
    report = world.report

    def judged() -> Any:
        record = watch.records[-1]
        return record if record.at.seconds > watch.records[0].at.seconds + 3 else None

    record = poll(f"{watch.deployment} is judged after its grace", judged)
    report.equal(
        "a healthy one-box in its bake is PENDING", enum_name(record, "verdict"), "PENDING"
    )
    states = {check.check: check.state for check in record.checks}
    wanted = {"errors", "latency", "queue", "present", "memory", "node-load"}
    report.equal("its verdict carries all checks", set(states), wanted)
    answer = http(world.url(f"/api/v1/deployments/{watch.deployment}/verdict"))
    document = answer.json()
    seen = (answer.status, document.get("verdict"), document.get("progress"))
    is_right = seen[:2] == (200, "PENDING") and isinstance(seen[2], str) and seen[2]
    report.check("HTTP answers 200, PENDING, with its progress in words", bool(is_right), seen)
    is_waiting = any("bake:" in reason for reason in document["reasons"])
    report.check("and says that the bake is not over", is_waiting, document["reasons"])


def with_failure(world: World, watch: Watch, checks: tuple[str, ...], host: str) -> None:
    """Waits for a FAIL and looks at its evidence."""
    report, name = world.report, watch.deployment
    record = watch.wait("FAIL", seconds=60)
    reasons = list(record.reasons)
    names_both = any(
        reason.startswith(f"{check}:") and host in reason for reason in reasons for check in checks
    )
    report.check(f"the FAIL of {name} names {' or '.join(checks)} and {host}", names_both, reasons)
    breaches = [check for check in record.checks if check.state == 2]
    is_right = bool(breaches) and all(
        check.check in checks and list(check.hosts) == [host] and check.HasField("first_breach")
        for check in breaches
    )
    report.check(f"and its evidence is of {host}, with a time", is_right, record.checks)
    report.equal(f"and {name} went straight there", watch.states(), ["PENDING", "FAIL"])
    report.check(f"and the verdict of {name} is final", record.final, reasons)


def good_rollout(world: World, fleet: Fleet) -> None:
    """A healthy one-box passes when its bake is over, not before."""
    report = world.report
    good = world.begin(
        deployment="good",
        service="checkout",
        stage="onebox",
        region=REGION,
        version="v3",
        one_box=["h1"],
        fleet=["h2", "h4", "h6"],
    )
    fleet.deploy("h1")
    record = good.wait("PASS", seconds=90)
    report.equal("good was PENDING, then PASS", good.states(), ["PENDING", "PASS"])
    baked = record.at.seconds - good.records[0].at.seconds
    report.check("and its whole bake was waited for", 20 <= baked <= 22, f"{baked} s")
    told = " ".join(record.reasons)
    names = ("errors", "latency", "queue", "present", "memory", "node-load")
    report.check("its reasons name every check", all(name in told for name in names), told)
    memory = [check for check in record.checks if check.check == "memory"]
    wanted = [float(f"{memory_total():.5e}")]
    seen = [check.observed for check in memory]
    report.equal("node-exporter's metric has the value that the system tells", seen, wanted)
    report.equal("health of the gate that passed is SERVING", gate_health(world, "onebox"), SERVING)
    for stage in ("latency", "presence"):
        report.equal(f"health of {stage} is NOT_SERVING", gate_health(world, stage), NOT_SERVING)
    listed = world.gates.call("ListDeployments", service="checkout", stage="onebox").deployments
    ids = [deployment.deployment for deployment in listed]
    report.equal("the deployments of the stage are listed, newest first", ids, ["good", "bad"])


def memory_total() -> int:
    """Bytes of memory, as the system tells."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1_024
    raise ValueError("/proc/meminfo has no MemTotal")


def gate_health(world: World, stage: str) -> int:
    """The health of a gate of the checkout service."""
    name = f"gate/checkout/{stage}/{REGION}"
    status: int = world.health.call("Check", service=name).status
    return status


def orders_rollouts(world: World, sick: Sender) -> tuple[Watch, Watch]:
    """Opens two gates over the OpenTelemetry streams; one host starts to log errors."""
    sick.is_sick = True
    same = {"service": "orders", "stage": "prod", "version": "v1"}
    good = world.begin(deployment="orders-good", one_box=["o1"], **same)
    bad = world.begin(deployment="orders-bad", one_box=["o2"], **same)
    return good, bad


def orders_verdicts(world: World, good: Watch, bad: Watch) -> None:
    """The gates see the metrics and the logs that the SDK sends."""
    with_failure(world, bad, ("log-rate",), "o2")
    record = good.wait("PASS", seconds=60)
    world.report.equal("orders-good was PENDING, then PASS", good.states(), ["PENDING", "PASS"])
    told = " ".join(record.reasons)
    names = ("orders", "log-rate", "written")
    world.report.check("covered by all three checks", all(name in told for name in names), told)


def command_line(world: World) -> None:
    """`sluice deploy` and `sluice verdict`, with the exit codes that scripts rely on."""
    report, run = world.report, world.command

    def expect(name: str, code: int, *arguments: str, server: str | None = None) -> str:
        done = run(*arguments, server=server)
        seen = (done.returncode, done.stdout, done.stderr)
        report.check(f"{name}: exit code {code}", done.returncode == code, seen)
        return str(done.stdout)

    gamma = ("deploy", "begin", "--service", "checkout", "--stage", "gamma", "--version", "v4")
    for deployment in ("cli-good", "cli-bad"):
        told = expect(f"begin {deployment}", 0, *gamma, "--id", deployment, "--output", "json")
        report.equal("its output is the verdict", json.loads(told)["verdict"], "PENDING")
        world.deployments.append(deployment)
    verdict = ("verdict", "cli-good")
    expect("a pending verdict", 3, *verdict)
    expect("a pending verdict at the timeout", 3, *verdict, "--wait", "--timeout", "1s")
    expect("a step that passed", 0, "deploy", "step", "cli-good", "smoke-tests", "passed")
    told = expect("one step of two", 3, *verdict, "--output", "json")
    report.check("it waits for the other", "load-test" in told and "smoke" not in told, told)
    waiting = subprocess.Popen(
        [str(world.sluice), *verdict, "--wait", "--timeout", "60s", "--output", "json"]
        + ["--server", world.addresses["grpc"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        expect("the other step", 0, "deploy", "step", "cli-good", "load-test", "passed")
        told, _ = waiting.communicate(timeout=60)
    finally:
        waiting.kill()
        waiting.wait()
    report.equal("verdict --wait ends with the PASS: exit code 0", waiting.returncode, 0)
    report.equal("and prints it", json.loads(told)["verdict"], "PASS")
    expect("a step that failed", 0, "deploy", "step", "cli-bad", "smoke-tests", "failed")
    told = expect("a failed verdict", 1, "verdict", "cli-bad", "--wait", "--timeout", "60s")
    report.check("its text says why", "FAIL" in told and "smoke-tests: failed" in told, told)
    expect("the verdict of a rollout", 1, "verdict", "bad")
    expect("an unknown deployment", 2, "verdict", "nothing")
    expect("an unknown step", 2, "deploy", "step", "cli-bad", "dance", "passed")
    expect("a usage error", 2, "verdict")
    expect("nobody listens", 2, "verdict", "cli-good", server=f"{LOOPBACK}:{free_port()}")

    ghost = ("--service", "ghost", "--stage", "prod", "--version", "v1", "--one-box", "g1")
    expect("begin where no data comes", 0, "deploy", "begin", *ghost, "--id", "cli-ghost")
    world.deployments.append("cli-ghost")

    def ghost_code() -> int:
        return int(run("verdict", "cli-ghost").returncode)

    poll("silence becomes NO_DATA", ghost_code, lambda code: code == 4, seconds=40)
    told = expect(
        "no data", 4, "verdict", "cli-ghost", "--wait", "--timeout", "1s", "--output", "json"
    )
    report.equal("never a PASS", json.loads(told)["verdict"], "NO_DATA")
    for deployment in ("cli-good", "cli-bad", "cli-ghost"):
        expect(f"end {deployment}", 0, "deploy", "end", deployment)
    expect("no data, final", 4, "verdict", "cli-ghost", "--wait", "--timeout", "60s")


def close(world: World) -> dict[str, dict[str, Any]]:
    """Ends the deployments but the last one that is watched, and gives what stands in the end."""
    *ended, left = world.watches
    for watch in ended:
        world.gates.call("End", deployment=watch.deployment)
        is_closed = watch.wait_closed(10)
        world.report.check(f"the stream of {watch.deployment} ends", is_closed, watch.error)
    world.report.check(f"the stream of {left.deployment} is still open", not left.is_done)
    return {deployment: world.verdict(deployment) for deployment in world.deployments}


def stop(world: World, engine: Process) -> None:
    """SIGTERM ends the engine in order, though a stream is open and Prometheus goes on writing."""
    started_at = time.monotonic()
    code = engine.stop(seconds=10.0)
    seen = f"{code} after {time.monotonic() - started_at:.1f} s: {engine.log_tail()}"
    world.report.check("SIGTERM: exit code 0 within 10 s", code == 0, seen)
    left = world.watches[-1]
    left.wait_closed(5)
    error = left.error.code().name if left.error is not None else None
    world.report.equal("the open stream is told to come again", error, "UNAVAILABLE")


def replay(world: World, live: dict[str, dict[str, Any]]) -> None:
    """The journal, replayed, says what was said live."""
    report = world.report
    journals = sorted(str(path) for path in (world.data_dir / "journal").glob("*.journal"))
    report.equal("there is one journal", len(journals), 1)
    command = [str(world.sluice), "replay", *journals, "--config", str(CONFIG), "--output", "json"]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        for _ in range(2)
    ]
    done = outputs[0]
    seen = (done.returncode, done.stderr)
    report.check("the replay ends with the code of the worst verdict", done.returncode == 1, seen)
    report.check("two replays print the same bytes", done.stdout == outputs[1].stdout)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    finals = {line["deployment"]: line for line in lines if line["type"] == "final"}
    report.equal("it ends with a verdict for each deployment", sorted(finals), sorted(live))
    for deployment, record in live.items():
        said = {key: value for key, value in record.items() if key != "progress"}
        again = {key: value for key, value in finals.get(deployment, {}).items() if key != "type"}
        report.check(
            f"{deployment}: the final records are equal", said == again, differs(said, again)
        )
    for watch in world.watches:
        of_this = [line for line in lines if line["deployment"] == watch.deployment]
        repeated = [
            (line["verdict"], parts(line["at"]), line["reasons"])
            for line in of_this
            if line["type"] == "verdict"
        ]
        streamed = [(state, parts(since), reasons) for state, since, reasons in watch.changes()]
        name = f"{watch.deployment}: the replay changes as the stream did"
        is_right = streamed == repeated and len(streamed) > 1
        report.check(name, is_right, (streamed, repeated))


def parts(instant: str) -> tuple[str, int]:
    """Splits a time into its seconds and nanoseconds, however many digits were written."""
    seconds, _, fraction = instant.removesuffix("Z").partition(".")
    return seconds, int(fraction.ljust(9, "0") or 0)


def differs(said: dict[str, Any], again: dict[str, Any]) -> str:
    """What two records disagree on."""
    keys = sorted(said.keys() | again.keys())
    pairs = {key: (said.get(key), again.get(key)) for key in keys}
    return str({key: pair for key, pair in pairs.items() if pair[0] != pair[1]})
