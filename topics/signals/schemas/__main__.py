"""`python -m topics.signals.schemas` rewrites the JSON Schema files."""

from __future__ import annotations

from topics.signals import schemas

if __name__ == "__main__":
    schemas.write()
