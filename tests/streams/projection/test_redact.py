"""Values that must not be published."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl.judge.keys import key_hash
from dsl.judge.span import Value
from streams.errors import ConfigError
from streams.projection.redact import KEY_VARIABLE, Redaction, Treatment, read_key, treatments

KEY = b"0123456789abcdef"
ALL = Redaction(treatments("hashed=hash,dropped=drop,masked=mask"), KEY)

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=6,
)


def test_each_treatment() -> None:
    """Hashed, dropped, masked; other attributes stay, in their order."""
    actual = ALL.redacted({"kept": 1, "masked": "a", "dropped": "b", "hashed": "u-17"})

    assert list(actual.items()) == [
        ("kept", 1),
        ("masked", "[masked]"),
        ("hashed", "hmac-sha256:" + hmac.new(KEY, b"u-17", hashlib.sha256).hexdigest()),
    ]


def test_hash_depends_on_the_key() -> None:
    """Without the key nobody can compute the hash of a guess."""
    other = Redaction({"hashed": Treatment.HASH}, KEY[::-1])

    assert ALL.value("hashed", "u-17") != other.value("hashed", "u-17")


def test_number_and_text_have_one_hash() -> None:
    """An id that some SDK sends as a number is the same id."""
    assert ALL.value("hashed", 17) == ALL.value("hashed", "17")


def test_empty_value_stays_empty() -> None:
    """An empty value has nothing to hide, and its hash would look like somebody."""
    assert ALL.redacted({"hashed": None, "masked": None}) == {"hashed": None, "masked": None}


@given(_values)
def test_no_value_is_refused(value: Value) -> None:
    """Any value of a span can be redacted, without an error."""
    actual = ALL.redacted({"hashed": value, "dropped": value, "masked": value})

    hidden = ["hmac-sha256:", "[masked]"]
    assert set(actual) == {"hashed", "masked"}
    for found in actual.values():
        assert found is value is None or any(str(found).startswith(start) for start in hidden)


def test_value_that_cannot_be_hashed() -> None:
    """A value that JSON cannot represent is masked."""
    value: Value = 1
    for _ in range(10_000):
        value = [value]

    assert ALL.value("hashed", value) == "[masked]"


@pytest.mark.parametrize("key", [None, b"", KEY[:-1]])
def test_hash_without_a_good_key(key: bytes | None) -> None:
    """A missing key, or one that could be guessed, is refused before anything is read."""
    with pytest.raises(ConfigError, match=r"requires a key: set BETRACE_REDACT_KEY|must have at least 16"):
        Redaction({"a": Treatment.HASH}, key)


def test_mask_needs_no_key() -> None:
    """Only hashes use a key."""
    assert Redaction({"a": Treatment.MASK}).value("a", 1) == "[masked]"


def test_key_is_not_shown() -> None:
    """The settings never show a key in a log."""
    assert KEY.decode() not in repr(ALL)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user.id", "'user.id' is not a redaction: write NAME=hash, NAME=drop or NAME=mask"),
        ("user.id=encrypt", "'user.id=encrypt' is not a redaction"),
        ("=mask", "'=mask' is not a redaction"),
        ("a=mask,a=drop", "a is redacted twice: keep one of the two"),
    ],
)
def test_invalid_redaction(text: str, message: str) -> None:
    """A redaction without effect is refused, with the valid forms."""
    with pytest.raises(ConfigError, match=message):
        treatments(text)


def test_name_with_an_equals_sign() -> None:
    """The last equals sign separates name and treatment."""
    assert treatments("a=b=drop") == {"a=b": Treatment.DROP}


def test_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the key comes from the environment; without both there is none."""
    monkeypatch.setenv(KEY_VARIABLE, "from the environment")
    found = read_key(None)
    monkeypatch.delenv(KEY_VARIABLE)

    assert (found, read_key(None)) == (b"from the environment", None)


def test_key_from_a_file(tmp_path: Path) -> None:
    """The key is the file without the line break that an editor adds."""
    path = tmp_path / "key"
    path.write_bytes(b" \x00key \n")

    assert read_key(path) == b" \x00key "


def test_missing_key_file(tmp_path: Path) -> None:
    """The error names a file that cannot be read."""
    with pytest.raises(ConfigError, match=r"the redaction key cannot be read: .*nowhere"):
        read_key(tmp_path / "nowhere")


def test_key_of_a_pair_is_hashed_as_its_attribute_is_redacted() -> None:
    """A published value has a plain hash; a redacted one has a keyed hash, below any subject."""
    below = Redaction(treatments("order.masked=mask"), KEY)

    plain, hidden, hidden_below = ALL.key_hash("kept"), ALL.key_hash("masked"), below.key_hash("masked")

    assert plain is not None
    assert hidden is not None
    assert hidden_below is not None
    assert plain("u-17") == key_hash("u-17") != hidden("u-17")
    assert hidden("u-17") == hidden_below("u-17")


def test_keys_that_are_compared_have_hashes_of_one_kind() -> None:
    """If only one of two names is redacted, the hashes of both are keyed, or neither value can be compared."""
    keyless = Redaction(treatments("masked=mask"))

    left, right = ALL.key_hash("kept", "masked"), ALL.key_hash("masked", "kept")

    assert left is not None
    assert right is not None
    assert key_hash("u-17") != left("u-17") == right("u-17")
    assert (None, None) == (keyless.key_hash("kept", "masked"), keyless.key_hash("masked", "kept"))


def test_redacted_value_is_not_compared_without_a_key() -> None:
    """A hash that anybody could reverse by guessing must not be published."""
    keyless = Redaction(treatments("masked=mask"))

    assert (None, key_hash) == (keyless.key_hash("masked"), keyless.key_hash("kept"))
