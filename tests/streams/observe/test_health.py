"""Tests what a stage reports over HTTP; the clock is a value."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import ExitStack

import psutil
import pytest

from streams.errors import ConfigError
from streams.observe import health, metrics
from streams.observe.health import STILL_S, STUCK_S, UNCOMMITTED_S, Health
from tests.support.ports import free_port
from tests.support.probes import get
from tests.support.waiting import wait_until


class Clock:
    """A clock that changes only when it is set."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock at some time."""
    return Clock()


@pytest.fixture
def ready(clock: Clock) -> Health:
    """A stage with everything it needs."""
    made = Health(clock)
    made.assign(3)
    made.use_rules("f00")
    # Global state of the process: an ingest of another test may have left it.
    metrics.RULES_REFUSED.set(0)
    return made


def test_new_stage_is_not_ready(clock: Clock) -> None:
    """A new stage is alive and not ready, with each reason."""
    begun = Health(clock)

    assert [] == begun.faults()
    assert ["the group has not assigned partitions yet", "no rules are compiled"] == begun.gaps()


def test_stage_that_needs_no_rules_is_ready_without(clock: Clock) -> None:
    """The ledger has no rules and judges nothing."""
    ledger = Health(clock, has_rules=False)

    ledger.assign(1)

    assert [] == ledger.gaps()


def test_complete_stage_is_ready(ready: Health) -> None:
    """A stage with partitions, rules and nothing overdue is ready."""
    assert [] == ready.gaps()


def test_stage_with_a_stuck_loop_is_not_alive(ready: Health, clock: Clock) -> None:
    """At the limit the stage is alive, beyond it neither alive nor ready; running the loop makes it alive again."""
    clock.now_s += STILL_S
    at_limit = ready.faults()
    clock.now_s += 1
    beyond = ready.faults()
    ready.turn()

    assert ([], ["main loop has not run for 61s"], []) == (at_limit, beyond, ready.faults())


def test_nothing_read_for_long_is_not_ready(ready: Health, clock: Clock) -> None:
    """A stage with partitions must read something or be at the end."""
    clock.now_s += STUCK_S + 1
    stuck = ready.gaps()
    ready.move()

    assert ["nothing was read for 31s, and the end is not reached"] == stuck
    assert [] == ready.gaps()


def test_nothing_committed_for_long_is_not_ready(ready: Health, clock: Clock) -> None:
    """A stage must commit what it did."""
    clock.now_s += UNCOMMITTED_S + 1
    ready.turn()
    ready.move()
    behind = ready.gaps()
    ready.commit()

    assert ["nothing was committed for 61s"] == behind
    assert [] == ready.gaps()


def test_spare_worker_is_ready(ready: Health, clock: Clock) -> None:
    """A worker without partitions has nothing to read."""
    ready.assign(0)
    clock.now_s += UNCOMMITTED_S + 1
    ready.turn()

    assert [] == ready.gaps()


def test_probes_and_metrics_are_served(ready: Health, clock: Clock) -> None:
    """The three paths answer; any other lists them."""
    port = free_port()
    with health.serving("127.0.0.1", port, ready):
        well = [get(port, path) for path in ("/healthz", "/readyz")]
        clock.now_s += STILL_S + 1
        ill = [get(port, path)[0] for path in ("/healthz", "/readyz")]
        shown = get(port, "/metrics")
        other = get(port, "/")

    assert [(200, "ok\n"), (200, "ok\nrules f00\n")] == well
    assert [503, 503] == ill
    assert 200 == shown[0]
    assert 'betrace_rules_active_info{fingerprint="f00"} 1.0' in shown[1]
    assert "betrace_committed_timestamp_seconds" in shown[1]
    assert (404, "not found: the paths are /metrics, /healthz and /readyz\n") == other


def test_slow_clients_do_not_fill_the_server(ready: Health) -> None:
    """With many more silent connections than are served, a probe is answered, and threads are bounded."""
    port = free_port()
    with health.serving("127.0.0.1", port, ready), ExitStack() as clients:
        before = threading.active_count()
        for _ in range(5 * health.CONNECTIONS):
            clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        answers = [get(port, "/healthz") for _ in range(3)]
        threads = threading.active_count() - before

    assert [(200, "ok\n")] * 3 == answers
    assert threads <= 2 * health.CONNECTIONS


def test_connection_with_an_endless_header_is_closed(ready: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte now and then gets no more time than a silent one."""
    monkeypatch.setattr(health, "REQUEST_S", 0.2)
    port = free_port()
    with health.serving("127.0.0.1", port, ready), socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(0.05)

        def is_let_go() -> bool:
            try:
                client.sendall(b"x")
                return client.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        wait_until(is_let_go, "the server lets the client go")


def test_rules_that_cannot_be_read_are_noted(ready: Health) -> None:
    """A worker that keeps the previous rules stays ready, and reports which ones and that they are not active."""
    metrics.RULES_REFUSED.set(1)
    refused = ready.notes()
    metrics.RULES_REFUSED.set(0)

    assert ["rules f00", "the active rules cannot be read, the previous ones stay in use"] == refused
    assert ["rules f00"] == ready.notes()
    assert [] == Health().notes()


def test_probe_says_from_when_rules_judge(ready: Health, clock: Clock) -> None:
    """The answer is text, or JSON for clients that accept it, with the status of the probe."""
    ready.judge(["1 rule (a) judges every trace", "1 rule (b) judges nothing yet"], {"a": 0, "b": None})
    port = free_port()

    with health.serving("127.0.0.1", port, ready):
        words = get(port, "/readyz")
        well = get(port, "/readyz", accept="application/json")
        clock.now_s += STILL_S + 1
        ill = get(port, "/readyz", accept="application/json")

    assert (200, "ok\nrules f00\n1 rule (a) judges every trace\n1 rule (b) judges nothing yet\n") == words
    notes = words[1].splitlines()[1:]
    expected = {"ready": True, "problems": [], "rules": "f00", "notes": notes, "judging": {"a": 0, "b": None}}
    assert (200, expected) == (well[0], json.loads(well[1]))
    said = json.loads(ill[1])
    assert (503, False) == (ill[0], said["ready"])
    assert "main loop has not run for 61s" in said["problems"]


def test_port_in_use_is_refused(ready: Health) -> None:
    """A port in use is a configuration error with the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with (
            pytest.raises(ConfigError, match=f"metrics cannot be served at 127.0.0.1:{port}: Address already in use"),
            health.serving("127.0.0.1", port, ready),
        ):
            pass


def test_port_0_serves_nothing(ready: Health) -> None:
    """Port 0 starts no server."""
    before = listening()

    with health.serving("no address", 0, ready):
        during = listening()

    assert before == during


def listening() -> set[int]:
    """Returns the ports on which this process listens."""
    return {at.laddr.port for at in psutil.Process().net_connections() if at.status == psutil.CONN_LISTEN}
