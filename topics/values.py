"""Values of attributes, as facts and signals carry them."""

from __future__ import annotations

Scalar = str | bool | int | float | None
