"""The hosts of a small service: one HTTP server that Prometheus scrapes, one path per host."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import LOOPBACK

REQUESTS_PER_SECOND = 60.0
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
HEALTHY_ERRORS = 0.01
SICK_ERRORS = 0.35
SICK_LATENCY = 3.0


@dataclass
class Host:
    """One host: what it has counted since its process started."""

    name: str
    random: random.Random
    is_sick: bool = False
    is_silent: bool = False
    scrapes: int = 0
    started_at: float = field(default_factory=time.time)
    counted_at: float = field(default_factory=time.time)
    requests: dict[str, int] = field(default_factory=lambda: {"200": 0, "500": 0})
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds_sum: float = 0.0

    def restart(self) -> None:
        """Starts the process anew, as a deployment does: everything counts from zero."""
        self.started_at = self.counted_at = time.time()
        self.requests = {"200": 0, "500": 0}
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds_sum = 0.0

    def work(self, now: float) -> None:
        """Serves the requests that came since the last scrape."""
        expected = REQUESTS_PER_SECOND * max(0.0, now - self.counted_at)
        self.counted_at = now
        for _ in range(round(expected * self.random.uniform(0.95, 1.05))):
            is_error = self.random.random() < (SICK_ERRORS if self.is_sick else HEALTHY_ERRORS)
            self.requests["500" if is_error else "200"] += 1
            seconds = self.random.lognormvariate(-2.7, 0.4)
            seconds *= SICK_LATENCY if self.is_sick else 1.0
            self.seconds_sum += seconds
            index = sum(bound < seconds for bound in BOUNDS)
            self.buckets[index] += 1

    def expose(self) -> str:
        """What a scrape reads."""
        self.scrapes += 1
        self.work(time.time())
        depth = 20.0 + self.random.gauss(0.0, 1.0)
        lines = [
            "# HELP http_requests_total Requests served.",
            "# TYPE http_requests_total counter",
            *(f'http_requests_total{{code="{c}"}} {n}' for c, n in self.requests.items()),
            "# HELP http_request_duration_seconds How long requests took.",
            "# TYPE http_request_duration_seconds histogram",
        ]
        below = 0
        for bound, count in zip((*BOUNDS, "+Inf"), self.buckets, strict=True):
            below += count
            lines.append(f'http_request_duration_seconds_bucket{{le="{bound}"}} {below}')
        lines += [
            f"http_request_duration_seconds_sum {self.seconds_sum}",
            f"http_request_duration_seconds_count {below}",
            "# HELP queue_depth Requests that wait.",
            "# TYPE queue_depth gauge",
            f"queue_depth {depth}",
            "# HELP process_start_time_seconds When the process started.",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self.started_at}",
        ]
        return "\n".join(lines) + "\n"


class Fleet:
    """All hosts, served at `/<name>/metrics` while the context lasts."""

    def __init__(self, names: list[str]) -> None:
        self.hosts = {name: Host(name, random.Random(name)) for name in names}
        self.lock = threading.Lock()
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            """Answers one scrape."""

            def do_GET(self) -> None:  # noqa: N802
                """Exposes the host that the path names."""
                with fleet.lock:
                    host = fleet.hosts.get(self.path.split("/")[1])
                    is_here = host is not None and not host.is_silent
                    body = host.expose().encode() if host is not None and is_here else b""
                self.send_response(200 if is_here else 503)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Stays quiet."""

        self.server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self.server.daemon_threads = True
        self.port: int = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> Fleet:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def scrapes(self) -> int:
        """How often the host that was scraped least was scraped."""
        with self.lock:
            return min(host.scrapes for host in self.hosts.values())

    def change(self, name: str, *, is_sick: bool = False, is_silent: bool = False) -> None:
        """Makes a host sick, silent or well, from now on."""
        with self.lock:
            host = self.hosts[name]
            if not host.is_silent:
                host.work(time.time())
            host.is_sick, host.is_silent = is_sick, is_silent

    def deploy(self, name: str) -> None:
        """Restarts a host, as a deployment does."""
        with self.lock:
            self.hosts[name].restart()
