"""What the chart's tests share: Helm, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gotools import GoMissingError, helm


@pytest.fixture(scope="session")
def helm_path() -> Path:
    """A real Helm; the first test that asks waits for the build."""
    try:
        return helm()
    except GoMissingError as error:
        pytest.skip(str(error))
