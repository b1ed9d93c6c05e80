"""Tests storage in S3, against a server that behaves like it."""

from __future__ import annotations

from typing import Any

import pytest

from streams.errors import ConfigError
from streams.evidence.ledger import storage
from streams.evidence.ledger.log import Ledger
from streams.evidence.ledger.storage import Remote
from streams.evidence.ledger.verify import Verification
from tests.support import evidence
from tests.support.evidence import ORIGIN, SIGNER, START_MS

DAY_S = 86_400


@pytest.fixture
def client(s3: Any) -> Any:  # noqa: ANN401, boto3 makes its classes at run time
    """S3, with a bucket that locks objects and one that does not."""
    s3.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    s3.create_bucket(Bucket="open")
    return s3


def test_objects_are_made_once_and_locked(client: Any) -> None:  # noqa: ANN401, as above
    """With a retention each object is locked in compliance mode, and creating it again is refused."""
    store = Remote("s3://locked/evidence", DAY_S)
    store.create("a/b", b"one")

    with pytest.raises(FileExistsError):
        store.create("a/b", b"two")

    head = client.head_object(Bucket="locked", Key="evidence/a/b")
    assert store.read("a/b") == b"one"
    assert head["ObjectLockMode"] == "COMPLIANCE"


@pytest.mark.usefixtures("client")
def test_a_retention_needs_a_bucket_that_locks() -> None:
    """A bucket without Object Lock is refused, rather than written to without a lock."""
    with pytest.raises(ConfigError, match="does not support Object Lock"):
        Remote("s3://open/evidence", DAY_S)


def test_evidence_in_a_bucket_verifies(client: Any) -> None:  # noqa: ANN401, as above
    """What a ledger stores there verifies, and a deleted object is reported as missing."""
    store, ledger = Remote("s3://open/evidence"), Ledger(ORIGIN)
    evidence.follow(ledger)
    for number in range(3):
        evidence.minute(ledger, number)
        evidence.store_seal(ledger, store, START_MS)
    whole = [*Verification(store, [SIGNER.verifier()]).findings()]

    client.delete_object(Bucket="open", Key=f"evidence/{storage.seal_path(1)}")

    found = [finding.location for finding in Verification(store, [SIGNER.verifier()]).findings()]
    assert [] == whole
    assert [storage.seal_path(1)] == found
    assert storage.last_seal(store) == 2
