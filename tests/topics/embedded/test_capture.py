"""Capture files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import paths
from topics.embedded.capture import LIMIT_BYTES, CaptureError, Frame, read, write

CORPUS = paths.CORPUS
FRAMES = st.lists(st.builds(Frame, st.none() | st.binary(min_size=1, max_size=40), st.binary(max_size=100)))
FIRST_FRAME_BYTES = 11
TWO = [Frame(None, b"one"), Frame(b"key", b"two")]


@given(FRAMES, st.sampled_from(["c.bin", "c.bin.gz"]))
def test_what_is_written_is_read(frames: list[Frame], name: str) -> None:
    """Reading returns the frames that were written, compressed or not."""
    with TemporaryDirectory() as folder:
        write(Path(folder, name), frames)

        assert list(read(Path(folder, name))) == frames


def test_bytes_are_as_documented(tmp_path: Path) -> None:
    """A frame is a little-endian length and the key, then a length and the value."""
    write(tmp_path / "c.bin", TWO)

    expected = b"\0\0\0\0\3\0\0\0one\3\0\0\0key\3\0\0\0two"
    assert (tmp_path / "c.bin").read_bytes() == expected


def test_same_frames_give_the_same_compressed_bytes(tmp_path: Path) -> None:
    """A compressed file contains neither time nor name, so it can be compared and committed."""
    write(tmp_path / "a.bin.gz", TWO)
    write(tmp_path / "b.bin.gz", TWO)

    assert (tmp_path / "a.bin.gz").read_bytes() == (tmp_path / "b.bin.gz").read_bytes()


def test_empty_key_is_read_as_none(tmp_path: Path) -> None:
    """The format has no empty key: such a key is read as None."""
    write(tmp_path / "c.bin", [Frame(b"", b"value")])

    assert list(read(tmp_path / "c.bin")) == [Frame(None, b"value")]


@pytest.mark.parametrize("cut", [1, 3, 4, 7, 10, 12, 15, 20, 24])
def test_file_that_ends_inside_a_frame_is_an_error(tmp_path: Path, cut: int) -> None:
    """If a file ends inside a frame, reading yields the complete frames and then raises an error."""
    write(tmp_path / "c.bin", TWO)
    whole = (tmp_path / "c.bin").read_bytes()
    (tmp_path / "c.bin").write_bytes(whole[:cut])
    frames: list[Frame] = []

    with pytest.raises(CaptureError, match=r"c\.bin: frame \d cannot be read: the file ends after"):
        frames.extend(read(tmp_path / "c.bin"))

    assert frames == (TWO[:1] if cut > FIRST_FRAME_BYTES else [])


def test_excessive_length_is_refused_before_it_is_allocated(tmp_path: Path) -> None:
    """A damaged length of 4 GB is an error and allocates no memory."""
    (tmp_path / "c.bin").write_bytes(b"\xff\xff\xff\xff")

    with pytest.raises(CaptureError, match=f"4294967295 bytes, must be at most {LIMIT_BYTES}"):
        list(read(tmp_path / "c.bin"))


@pytest.mark.parametrize("damage", [b"", b"junk", b"\x1f\x8b"])
def test_damaged_gzip_is_an_error(tmp_path: Path, damage: bytes) -> None:
    """A compressed file that is truncated or is not gzip raises an error with the file's name."""
    write(tmp_path / "c.bin.gz", TWO)
    packed = (tmp_path / "c.bin.gz").read_bytes()
    (tmp_path / "c.bin.gz").write_bytes(damage or packed[:-9])

    with pytest.raises(CaptureError, match=r"c\.bin\.gz: frame"):
        list(read(tmp_path / "c.bin.gz"))


@pytest.mark.parametrize(
    ("name", "frame_count", "keyed_count"),
    [("partitioned_proto", 1006, 1006), ("partitioned_proto_logs", 197, 196), ("unkeyed_json", 4, 0)],
)
def test_real_captures_are_read(name: str, frame_count: int, keyed_count: int) -> None:
    """A capture of a real Collector is read completely, with its keys."""
    frames = list(read(CORPUS / f"{name}.bin.gz"))

    assert (len(frames), sum(frame.key is not None for frame in frames)) == (frame_count, keyed_count)
