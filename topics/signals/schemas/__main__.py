"""`python -m topics.signals.schemas` writes the JSON Schema files anew."""

from __future__ import annotations

from topics.signals import schemas

if __name__ == "__main__":
    schemas.write()
