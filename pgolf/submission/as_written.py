"""Whether two numbers agree as they are written: by the digits that both have."""

from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Any

# Of numbers of 40 digits, up to 10^40, no place is lost: what does not fit a context is an exception.
_WIDE = Context(prec=200)


def agree(a: Decimal, b: Decimal) -> bool:
    """Whether the one with more digits rounds to the other."""
    coarse = max(_exponent(a), _exponent(b))
    unit = Decimal(1).scaleb(coarse)
    for rounding in (ROUND_HALF_EVEN, ROUND_HALF_UP):
        if a.quantize(unit, rounding, _WIDE) == b.quantize(unit, rounding, _WIDE):
            return True
    return False


def rounded(value: Decimal) -> Decimal:
    """To a whole number, of whatever size."""
    return value.quantize(Decimal(1), context=_WIDE)


def agree_computed(told: Decimal, computed: Decimal, of: Sequence[Decimal]) -> bool:
    """Whether a mean or sample deviation may be that of two or more others before all were rounded and written."""
    # Half a unit for its own rounding; of the others' a mean takes half a unit, and a deviation of two 0.71.
    rounding = Decimal(1).scaleb(_exponent(told)) / 2 + Decimal(1).scaleb(max(map(_exponent, of))) * 3 / 4
    # In float, as anybody computes it: the last of 17 digits is nobody's.
    slack = max(map(abs, of)) * Decimal("1e-14")
    return agree(told, computed) or abs(told - computed) <= max(rounding, slack)


def unless_one_of(what: str, value: Any, told: Sequence[Decimal], where: str) -> Iterator[str]:
    """Unless a value is one of those that `where` has, say so, with the nearest. Nothing of what is no number."""
    if isinstance(value, bool) or not isinstance(value, Decimal | int) or not told:
        return
    value = Decimal(value)
    if not any(agree(value, one) for one in told):
        nearest = min(told, key=lambda one: abs(one - value))
        yield f"{what} says {as_written(value)}, {where} {as_written(nearest)}"


def as_written(value: Decimal) -> str:
    """Whole numbers with commas."""
    return f"{value:,}" if _exponent(value) >= 0 else str(value)


def places(value: Decimal) -> int:
    """Digits behind the point."""
    return -_exponent(value)


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
