"""Where the repository keeps what tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
CORPUS = FIXTURES / "corpus"
"""What a real Collector wrote to Kafka, as capture files."""

RULES = FIXTURES / "rules"
"""Rule files for the corpus, the benches and the language's own tests."""

CAPTURES = ROOT / "topics" / "embedded" / "captures"
"""The recorded day that the package ships."""

LIBRARY = ROOT / "dsl" / "library"
