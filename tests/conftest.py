"""What every test may use: a real Kafka, started once, with topics of its own on it, and a server that is like S3."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support import skips, tiers
from topics.embedded import broker

BUILD_S = 3600
collect_ignore = ["examples/notebook.py"]
"""A script, which pytest would import to look for doctests."""

# For make check and make test, make test-all, and make properties. The machine decides how long it takes to generate
# examples.
for name, max_examples in (("quick", 25), ("short", 200), ("long", 2000)):
    settings.register_profile(
        name, max_examples=max_examples, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile("short")


def pytest_configure(config: pytest.Config) -> None:
    """In CI a skip that is not on the list fails the run; Ctrl-C reaches what the tests start."""
    skips.register(config)
    # A shell without job control starts what runs in the background with SIGINT ignored, and so would its children be.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401, xdist need not be there
    """A test that ends its process is one failure, and the other tests run."""
    if config.getoption("dist") != "loadfile":
        return None
    # Without xdist nothing of it can be imported.
    from tests.support.scheduling import CrashTolerantScheduling  # noqa: PLC0415

    return CrashTolerantScheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` is what `make crash` asks for."""
    parser.addoption("--long", action="store_true", help="crash tests kill many more times")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make test` leaves out, and give tests that may build a program first the minutes it takes."""
    tiers.mark(items)
    for item in items:
        may_build = item.get_closest_marker("collector") or item.get_closest_marker("go")
        if may_build or "helm_path" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(BUILD_S))


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """The address of a real broker that lives as long as the test session."""
    with broker.running() as started:
        yield started.bootstrap


@pytest.fixture
def fresh_prefix() -> str:
    """A topic prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server that behaves like S3."""
    threaded = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    threaded.start()
    host, port = threaded.get_host_and_port()
    yield f"http://{host}:{port}"
    threaded.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401, boto3 makes its classes at run time
    """A client of S3; this process's own clients go there too."""
    settings = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("s3fs")
    return pytest.importorskip("boto3").client("s3")
