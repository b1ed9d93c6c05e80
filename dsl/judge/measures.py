"""Reads the numbers that sums and the like are taken of, and writes them as exact decimals.

In: attribute values. Out: canonical decimal texts. A double is its shortest decimal, so 0.1 and "0.10" are one number,
and sums of them are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal, Inexact

from dsl.judge.span import Value
from dsl.judge.values import is_decimal, is_present

MAX_NUMBER = 10**38
"""Numbers beyond it, and sums, are unknown."""

# The digits of the smallest double and of 10,000 times the largest number, and room to spare: nothing is ever rounded.
_EXACT = Context(prec=1000, Emin=-999_999, Emax=999_999, traps=[Inexact])


def decimal_texts(value: Value) -> tuple[str, ...] | None:
    """Return the number as text; nothing when the value is missing, None when it is not a number that can be added.

    >>> decimal_texts(1e3), decimal_texts("1.50"), decimal_texts(0.1), decimal_texts(None), decimal_texts(True)
    (('1000',), ('1.5',), ('0.1',), (), None)
    """
    if not is_present(value):
        return ()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        number = Decimal(value) if is_decimal(value) else None
    else:
        number = Decimal(repr(value)) if isinstance(value, float) else _of_integer(value)
    return None if number is None or number.copy_abs() > MAX_NUMBER else (_text(number),)


def total(numbers: Iterable[Decimal]) -> Decimal | None:
    """Return the exact sum; None when it is beyond the largest number."""
    total = Decimal(0)
    for number in numbers:
        total = _EXACT.add(total, number)
    return total if total.copy_abs() <= MAX_NUMBER else None


def _of_integer(value: int) -> Decimal | None:
    return Decimal(value) if abs(value) <= MAX_NUMBER else None


def _text(number: Decimal) -> str:
    return str(int(number)) if number == number.to_integral_value(context=_EXACT) else str(number.normalize(_EXACT))
