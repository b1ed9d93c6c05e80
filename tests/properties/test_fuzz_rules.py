"""The short form of the random rule texts."""

from __future__ import annotations

from tests.properties import fuzz_rules


def test_no_text_ends_in_anything_but_rules_or_problems() -> None:
    """Some of 20,000 random and mutated texts load, most are refused, and nothing else happens."""
    outcomes = fuzz_rules.run(20_000, "short")

    assert 0 == outcomes["failed"]
    assert 20_000 == outcomes["loaded"] + outcomes["refused"]
    assert outcomes["loaded"] > 500
