"""Serves the health of a stage, and its metrics, over HTTP.

In: what the stage reports while it runs. Out: `/metrics` in Prometheus' format; `/healthz`, which fails if the main
loop does not run; `/readyz`, which fails while the stage does not do its job, with a reason per line, and names the
rules in use and, for sessions, from when they judge. To a client that accepts `application/json` it answers with
`Readiness` instead of lines. Each stage is a process with a server of its own, in a thread, which changes nothing and
shows no span.

A stage is ready if its group has assigned partitions to it (possibly none), its rules are compiled, it has recently
read some or all of what there is to read, and it has recently committed.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from streams.errors import ConfigError
from streams.observe import metrics

STILL_S = 60.0
"""A loop that has not run for this long counts as blocked."""
STUCK_S = 30.0
"""How long a stage with partitions may read nothing before it has reached the end."""
UNCOMMITTED_S = 60.0
"""How long a stage with partitions may go without a commit."""

JSON = "application/json"
CONNECTIONS = 16
"""The most connections that the metrics server serves at once."""
REQUEST_S = 10.0
"""The time limit of a request, from the connection to the end of the answer."""

Started = Callable[[str, list[tuple[str, str]]], Any]


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a stage is ready, and if not why.

    `rules` is the fingerprint of the rule set in use. `judging` has by rule id the record time in ms from which a trace
    must begin for the rule to judge it: 0 means any time, None that it judges nothing yet; it is empty if the stage
    does not judge.
    """

    ready: bool
    problems: list[str]
    rules: str | None
    notes: list[str]
    judging: dict[str, int | None]


class Health:
    """The state that a stage reports; `clock_s` is monotonic. One thread writes, any may read.

    A stage that does not judge has no rules (`has_rules`); `uncommitted_s` is how long it may go without a commit.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = time.monotonic,
        *,
        has_rules: bool = True,
        uncommitted_s: float = UNCOMMITTED_S,
    ) -> None:
        self._clock_s = clock_s
        self._has_rules = has_rules
        self._uncommitted_s = uncommitted_s
        self._turned_s = self._moved_s = self._committed_s = clock_s()
        self._partition_count: int | None = None
        self._rules: str | None = None
        self._judging: tuple[Sequence[str], Mapping[str, int | None]] = ((), {})

    def turn(self) -> None:
        """Record that the main loop runs."""
        self._turned_s = self._clock_s()

    def assign(self, partition_count: int) -> None:
        """Record the assigned partitions; from now on they must make progress."""
        self._partition_count = partition_count
        self._moved_s = self._committed_s = self._clock_s()

    def use_rules(self, fingerprint: str) -> None:
        """Record the rules that are compiled and in use."""
        self._rules = fingerprint
        metrics.RULES_ACTIVE.info({"fingerprint": fingerprint})

    def judge(self, sentences: Sequence[str], from_ms: Mapping[str, int | None] | None = None) -> None:
        """Record from when each rule judges, as text and by rule id as in `Readiness`."""
        self._judging = sentences, from_ms or {}

    def move(self) -> None:
        """Record that something was read, or that there is nothing to read."""
        self._moved_s = self._clock_s()

    def commit(self) -> None:
        """Record that everything is committed, or that there is nothing to commit."""
        self._committed_s = self._clock_s()
        metrics.COMMITTED.set_to_current_time()

    def faults(self) -> list[str]:
        """Return why the stage is not alive; empty if it is."""
        age_s = self._clock_s() - self._turned_s
        return [f"main loop has not run for {age_s:.0f}s"] if age_s > STILL_S else []

    def gaps(self) -> list[str]:
        """Return why the stage is not ready; empty if it is."""
        reasons = self.faults()
        if self._partition_count is None:
            reasons.append("the group has not assigned partitions yet")
        if self._has_rules and self._rules is None:
            reasons.append("no rules are compiled")
        if self._partition_count:
            reasons += self._lags()
        return reasons

    def notes(self) -> list[str]:
        """Return notes on a stage, ready or not: the rules in use, and from when they judge."""
        lines = [] if self._rules is None else [f"rules {self._rules}"]
        lines += self._judging[0]
        if metrics.REGISTRY.get_sample_value("betrace_rules_refused"):
            lines.append("the active rules cannot be read, the previous ones stay in use")
        return lines

    def readiness(self) -> Readiness:
        """Return all of this as a value."""
        problems = self.gaps()
        return Readiness(
            ready=not problems, problems=problems, rules=self._rules, notes=self.notes(), judging={**self._judging[1]}
        )

    def _lags(self) -> Iterator[str]:
        now_s = self._clock_s()
        if now_s - self._moved_s > STUCK_S:
            yield f"nothing was read for {now_s - self._moved_s:.0f}s, and the end is not reached"
        if now_s - self._committed_s > self._uncommitted_s:
            yield f"nothing was committed for {now_s - self._committed_s:.0f}s"


@contextmanager
def serving(address: str, port: int, health: Health) -> Iterator[None]:
    """Serve `health` within this context; port 0 serves nothing.

    Raises:
        ConfigError: the address does not exist here, or another program has the port.
    """
    if not port:
        yield
        return
    server = _server(address, port, health)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def check_port(address: str, port: int) -> None:
    """Raise `ConfigError` if nothing can be served there now."""
    _server(address, port, Health()).server_close()


def _server(address: str, port: int, health: Health) -> WSGIServer:
    try:
        return make_server(address, port, application(health), BoundedServer, _SilentHandler)
    except OSError as error:
        raise ConfigError(f"metrics cannot be served at {address}:{port}: {error.strerror}") from error


def application(health: Health) -> Callable[[dict[str, Any], Started], Iterable[bytes]]:
    """Return the WSGI application."""
    show_metrics = make_wsgi_app(metrics.REGISTRY)
    probes = {"/healthz": health.faults, "/readyz": health.gaps}

    def answer(environ: dict[str, Any], start: Started) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            shown: Iterable[bytes] = show_metrics(environ, start)
            return shown
        if path not in probes:
            return _text(start, HTTPStatus.NOT_FOUND, ["not found: the paths are /metrics, /healthz and /readyz"])
        if path == "/readyz" and JSON in environ.get("HTTP_ACCEPT", ""):
            return _json(start, health.readiness())
        problems = probes[path]()
        notes = health.notes() if path == "/readyz" else []
        return _text(start, _status(is_well=not problems), [*(problems or ["ok"]), *notes])

    return answer


def _status(*, is_well: bool) -> HTTPStatus:
    return HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE


def _json(start: Started, readiness: Readiness) -> list[bytes]:
    status = _status(is_well=readiness.ready)
    start(f"{status.value} {status.phrase}", [("Content-Type", JSON)])
    return [msgspec.json.encode(readiness)]


def _text(start: Started, status: HTTPStatus, lines: list[str]) -> list[bytes]:
    start(f"{status.value} {status.phrase}", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(f"{line}\n" for line in lines).encode()]


class BoundedServer(ThreadingWSGIServer):
    """A server that slow clients cannot exhaust: a bounded number of connections, each for a bounded time.

    A connection is closed `REQUEST_S` after it was accepted, whatever its progress. If there are `CONNECTIONS` already,
    the oldest is closed for a new one: a probe or a scrape is answered at once, so it is never the oldest for long.
    """

    request_queue_size = 128
    """If the kernel's queue is full, a client waits for a second or more."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401, as in `socketserver`
        self._started_s: dict[socket.socket, float] = {}
        self._ending: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(*arguments, **named)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, as in `socketserver`
        """Serve a connection in a thread of its own, unless too many closed ones still occupy theirs."""
        with self._lock:
            if len(self._started_s) >= CONNECTIONS:
                self._end(next(iter(self._started_s)))
            is_full = len(self._ending) >= CONNECTIONS
            if not is_full:
                self._started_s[request] = time.monotonic()
        if is_full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401, as in `socketserver`
        """Close a connection."""
        with self._lock:
            self._started_s.pop(request, None)
            self._ending.discard(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Close the connections whose time is up; `serve_forever` calls this twice a second."""
        until_s = time.monotonic() - REQUEST_S
        with self._lock:
            for request in [request for request, begun_s in self._started_s.items() if begun_s < until_s]:
                self._end(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, as in `socketserver`
        """Ignore the error: the client has gone, or its connection was closed."""

    def _end(self, connection: socket.socket) -> None:
        """Close a connection under the thread that serves it, which then ends."""
        del self._started_s[connection]
        self._ending.add(connection)
        with suppress(OSError):  # the client may have gone
            connection.shutdown(socket.SHUT_RDWR)


class _SilentHandler(WSGIRequestHandler):
    """Logs no requests: probes come every few seconds."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002, as it is overridden
        """Do nothing."""
