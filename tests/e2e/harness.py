"""What every scenario needs: checks that are counted, deadlines, processes, HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

Seen = TypeVar("Seen")

LOOPBACK = "127.0.0.1"


class Failure(Exception):
    """Something that the rest of a scenario rests on did not come true."""


@dataclass
class Report:
    """Counts what passed and what failed, a line for each."""

    passed: int = 0
    failed: int = 0

    def check(self, name: str, is_right: bool, seen: object = None) -> bool:
        """Counts one check; `seen` is printed if it fails."""
        if is_right:
            self.passed += 1
            print(f"ok {name}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED {name}: saw {shorten(seen)}", flush=True)
        return is_right

    def equal(self, name: str, seen: object, wanted: object) -> bool:
        """Checks that two values are equal."""
        return self.check(name, seen == wanted, f"{seen!r} instead of {wanted!r}")

    def require(self, name: str, is_right: bool, seen: object = None) -> None:
        """Checks what the rest of the scenario rests on."""
        if not is_right:
            raise Failure(f"{name}: saw {shorten(seen)}")
        self.check(name, is_right)

    @contextlib.contextmanager
    def scenario(self, name: str) -> Iterator[None]:
        """Runs a scenario: whatever breaks it is a failure, and the others still run."""
        print(f"-- {name}", flush=True)
        started_at = time.monotonic()
        try:
            yield
        except Failure as failure:
            self.check(f"{name} runs to its end", False, str(failure))
        except Exception as error:  # noqa: BLE001
            self.check(f"{name} runs to its end", False, repr(error))
            traceback.print_exc()
        print(f"   {time.monotonic() - started_at:.1f} s", flush=True)


def shorten(seen: object) -> str:
    """Makes what was seen fit on a screen."""
    text = seen if isinstance(seen, str) else repr(seen)
    return text if len(text) <= 2_000 else f"{text[:2_000]} … ({len(text)} characters)"


def poll(
    what: str,
    look: Callable[[], Seen],
    is_right: Callable[[Seen], bool] = bool,
    seconds: float = 20.0,
) -> Seen:
    """Looks again and again until what is seen is right; fails at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            looked = look()
            if is_right(looked):
                return looked
            seen: object = looked
        except OSError as error:
            seen = error
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds:.0f} s, saw {shorten(seen)}")
        time.sleep(0.1)


def free_port() -> int:
    """Finds a port on which nobody listens, for servers that cannot choose one themselves."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        return int(listener.getsockname()[1])


@dataclass
class Process:
    """A process of the test, stopped by its id when its context ends."""

    name: str
    command: list[str]
    directory: Path
    popen: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.stdout = self.directory / f"{self.name}.stdout"
        self.stderr = self.directory / f"{self.name}.stderr"

    def __enter__(self) -> Process:
        with self.stdout.open("wb") as out, self.stderr.open("wb") as err:
            self.popen = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running():
            self.stop(seconds=10.0)

    def is_running(self) -> bool:
        """Whether it has been started and not ended."""
        return self.popen is not None and self.popen.poll() is None

    def check_runs(self) -> None:
        """Fails at once when it has ended, instead of at a deadline."""
        if not self.is_running():
            raise Failure(f"{self.name} ended:\n{self.log_tail()}")

    def stop(self, seconds: float) -> int | None:
        """Asks it to end; `None` if it had to be killed."""
        assert self.popen is not None
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            return None

    def log_tail(self, lines: int = 20) -> str:
        """The end of what it logged."""
        return "\n".join(self.stderr.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True)
class Answer:
    """What an HTTP server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def http(
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
) -> Answer:
    """Asks an HTTP server; a status of 4xx or 5xx is an answer like any other."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


def metrics(url: str) -> dict[str, float]:
    """Reads an exposition; keys are as written, with their labels."""
    answer = http(url)
    if answer.status != 200:
        raise Failure(f"{url} answers {answer.status}")
    samples = {}
    for line in answer.text.splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            samples[series] = float(value)
    return samples


def total(samples: Mapping[str, float], name: str, *labels: str) -> float:
    """Sums the series of a family that carry all the labels, given as they are written."""
    return sum(
        value
        for series, value in samples.items()
        if series.split("{")[0] == name and all(label in series for label in labels)
    )


def find_tool(name: str) -> str:
    """Finds a program that the test cannot do without."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        sys.exit(f"FAILED {name} is not installed\n0 passed, 1 failed")
    return path
