"""Lines of `t x y p` parsed and written, in compiled code: exact microseconds without a float in between."""

import numpy as np
from numpy.typing import NDArray

from eventsam.compiled import compiled
from eventsam.io.block_recording import NO_PIXEL

NOT_A_NUMBER, TOO_FEW, TOO_MANY, TIME_RANGE, FRACTION, POLARITY, TIME_FRACTION, OUTSIDE, TOO_MANY_LINES = range(1, 10)

FAULTS = {
    NOT_A_NUMBER: "a field is not a finite number",
    TOO_FEW: "fewer than four fields",
    TOO_MANY: "something follows the fourth field",
    TIME_RANGE: "a time that int64 us cannot hold",
    FRACTION: "x, y or p is not whole",
    POLARITY: "p is none of -1, 0, 1",
    TIME_FRACTION: "a time with a fraction, where the times before it are whole microseconds",
    OUTSIDE: "x or y lies outside the sensor",
    TOO_MANY_LINES: "more events than when the file was indexed",
}

LINE_BYTES = 40
"""Longest line that `format_lines` writes."""

_LARGEST = np.uint64(10**18)
_TWO_63 = np.uint64(2**63)
_POWERS = np.array([10**power for power in range(20)], np.uint64)
_NO_EXPONENT = 10**9
_NEWLINE, _RETURN, _SPACE, _TAB, _COMMA, _HASH, _DOT, _PLUS, _MINUS, _ZERO, _NINE = (ord(c) for c in "\n\r \t,#.+-09")
_LOWER_E, _UPPER_E = ord("e"), ord("E")
_ONE = np.uint64(1)


@compiled
def parse_lines(
    data: NDArray[np.uint8], fields: NDArray[np.int64], power: int, height: int, width: int, x: NDArray[np.uint16],
    y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8],
) -> tuple[int, int, int]:  # fmt: skip
    """Parse whole lines, the last one ended by a newline; return (number of events, byte of a fault, fault or 0).

    `fields` (4,) is the column (0 to 3: x, y, t, p) of each field of a line. `power` is how many decimals of a time
    make microseconds: 6 for seconds; 0 for microseconds, where a fraction is a fault. Fields are parted by spaces, tabs
    or one comma; blank lines and lines starting with `#` are passed over. Events outside (height, width) are a fault;
    a size of 0 stores NO_PIXEL for what uint16 cannot hold instead.
    """
    values = np.zeros(4, np.int64)
    size, i, num = data.size, 0, 0
    while i < size:
        after = _plain_fields(data, i, fields, power, values) if num < t.size else 0
        line, fault = i, 0
        if after > 0:
            i = after
        elif data[i] in (_NEWLINE, _RETURN, _SPACE, _TAB):
            i += 1
            continue
        elif data[i] == _HASH:
            while data[i] != _NEWLINE:
                i += 1
            continue
        elif num >= t.size:
            return num, i, TOO_MANY_LINES
        else:
            i, fault = _fields(data, i, fields, power, values)
        if fault == 0:
            fault = _store(values, num, height, width, x, y, t, p)
        if fault > 0:
            return num, line, fault
        num += 1
    return num, size, 0


@compiled
def _plain_fields(
    data: NDArray[np.uint8], first: int, fields: NDArray[np.int64], power: int, values: NDArray[np.int64]
) -> int:
    """Parse a line of digits with one point in the time, as nearly all are; return the byte after it, 0 for others.

    Unsigned arithmetic keeps checks for negative indices out of the loops: 2.5 times as fast as `_fields`.
    """
    i = np.uint64(first)
    for field in range(4):
        value, end = _plain_digits(data, i)
        num_digits, column = end - i, fields[field]
        if num_digits == np.uint64(0):
            return 0
        i, exponent = end, 0
        if column == 2:
            exponent = power
            if data[i] == _DOT:
                decimals, end = _plain_digits(data, i + _ONE)
                num_decimals = int(end - i) - 1
                num_digits, i, exponent = num_digits + end - i, end, power - num_decimals
                if num_decimals > 18 or (power == 0 and decimals > np.uint64(0)):
                    return 0
                value = value * _POWERS[num_decimals] + decimals
        if num_digits > np.uint64(18):
            return 0
        if exponent != 0:
            value, fault = _scaled(value, exponent, False)
            if fault == TIME_RANGE or value >= _TWO_63:
                return 0
        values[column] = value
        if field < 3:
            if data[i] != _SPACE and data[i] != _COMMA and data[i] != _TAB:
                return 0
            i += _ONE
    if data[i] == _RETURN:
        i += _ONE
    return int(i) + 1 if data[i] == _NEWLINE else 0


@compiled
def _plain_digits(data: NDArray[np.uint8], i: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return (number, byte after it) of digits; a number of more than 19 digits is wrong."""
    value = np.uint64(0)
    while True:
        digit = np.uint64(data[i]) - np.uint64(_ZERO)
        if digit > np.uint64(9):
            return value, i
        value = value * np.uint64(10) + digit
        i += _ONE


@compiled
def _fields(
    data: NDArray[np.uint8], i: int, fields: NDArray[np.int64], power: int, values: NDArray[np.int64]
) -> tuple[int, int]:
    """Parse the four fields of a line into `values` by column; return (byte after the line, fault)."""
    for field in range(4):
        column = fields[field]
        value, i, fault = _number(data, i, power if column == 2 else 0)
        if fault == FRACTION and column == 2:
            # Digits finer than a microsecond are rounded away, unless the times count microseconds.
            fault = TIME_FRACTION if power == 0 else 0
        if fault > 0:
            return i, fault
        values[column] = value
        start = i
        i = _after_blanks(data, i)
        if field < 3:
            if data[i] == _COMMA:
                i = _after_blanks(data, i + 1)
            if data[i] in (_NEWLINE, _RETURN):
                return i, TOO_FEW
            if i == start:
                return i, NOT_A_NUMBER
    if data[i] == _RETURN:
        i += 1
    return i + 1, 0 if data[i] == _NEWLINE else TOO_MANY


@compiled
def _after_blanks(data: NDArray[np.uint8], i: int) -> int:
    while data[i] == _SPACE or data[i] == _TAB:
        i += 1
    return i


@compiled
def _store(
    values: NDArray[np.int64], num: int, height: int, width: int, x: NDArray[np.uint16], y: NDArray[np.uint16],
    t: NDArray[np.int64], p: NDArray[np.uint8],
) -> int:  # fmt: skip
    column, row, polarity = values[0], values[1], values[3]
    if polarity < -1 or polarity > 1:
        return POLARITY
    if height > 0 and (column < 0 or column >= width or row < 0 or row >= height):
        return OUTSIDE
    x[num] = column if 0 <= column < NO_PIXEL else NO_PIXEL
    y[num] = row if 0 <= row < NO_PIXEL else NO_PIXEL
    t[num] = values[2]
    p[num] = 1 if polarity > 0 else 0
    return 0


@compiled
def _number(data: NDArray[np.uint8], i: int, power: int) -> tuple[int, int, int]:
    """Return (number * 10^power rounded to nearest, ties to even; the byte after it; fault).

    FRACTION says that rounding changed the number.
    """
    negative = data[i] == _MINUS
    if negative or data[i] == _PLUS:
        i += 1
    mantissa, exponent, num_digits, rest = np.uint64(0), power, 0, False
    in_fraction = False
    while True:
        c = data[i]
        if _ZERO <= c <= _NINE:
            if mantissa < _LARGEST:
                mantissa = mantissa * np.uint64(10) + np.uint64(c - _ZERO)
                exponent -= in_fraction
            else:
                # Digits past the 19th only matter for being there.
                rest |= c != _ZERO
                exponent += not in_fraction
            num_digits += 1
        elif c == _DOT and not in_fraction:
            in_fraction = True
        else:
            break
        i += 1
    if num_digits == 0:
        return 0, i, NOT_A_NUMBER
    if data[i] == _LOWER_E or data[i] == _UPPER_E:
        stated, i = _exponent(data, i + 1)
        if stated == _NO_EXPONENT:
            return 0, i, NOT_A_NUMBER
        exponent += stated
    value, fault = _scaled(mantissa, exponent, rest)
    if value >= _TWO_63 + np.uint64(negative):
        return 0, i, TIME_RANGE
    # Wraps around to the smallest int64 where it must.
    return int(np.int64(np.uint64(0) - value) if negative else np.int64(value)), i, fault


@compiled
def _exponent(data: NDArray[np.uint8], i: int) -> tuple[int, int]:
    negative = data[i] == _MINUS
    if negative or data[i] == _PLUS:
        i += 1
    value, start = 0, i
    while _ZERO <= data[i] <= _NINE:
        value = min(value * 10 + (data[i] - _ZERO), 100_000)
        i += 1
    if i == start:
        return _NO_EXPONENT, i
    return -value if negative else value, i


@compiled
def _scaled(mantissa: np.uint64, exponent: int, rest: bool) -> tuple[np.uint64, int]:
    """Return mantissa * 10^exponent as (integer, fault); `rest` says that the mantissa lost digits."""
    if mantissa == np.uint64(0):
        return np.uint64(0), FRACTION if rest else 0
    if exponent >= 0:
        if exponent > 18 or mantissa > _TWO_63 // _POWERS[exponent]:
            return np.uint64(0), TIME_RANGE
        return mantissa * _POWERS[exponent], FRACTION if rest else 0
    if exponent < -19:
        return np.uint64(0), FRACTION
    divisor = _POWERS[-exponent]
    value = mantissa // divisor
    below = mantissa - value * divisor
    above = divisor - below
    if below > above or (below == above and (rest or value % np.uint64(2) == np.uint64(1))):
        return value + np.uint64(1), FRACTION
    return value, FRACTION if below > np.uint64(0) or rest else 0


@compiled
def format_lines(
    x: NDArray[np.uint16], y: NDArray[np.uint16], t: NDArray[np.int64], p: NDArray[np.uint8], out: NDArray[np.uint8]
) -> int:
    """Write `t[s] x y p` with 6 decimals per line into `out` (LINE_BYTES per event); return the number of bytes."""
    place = 0
    for i in range(t.size):
        # The absolute of the smallest int64 is no int64, but it is the right uint64.
        ticks = np.uint64(t[i]) if t[i] >= 0 else np.uint64(0) - np.uint64(t[i])
        if t[i] < 0:
            out[place] = _MINUS
            place += 1
        seconds = ticks // np.uint64(1_000_000)
        decimals = ticks - seconds * np.uint64(1_000_000)
        place = _digits(seconds, 1, out, place)
        out[place] = _DOT
        place = _digits(decimals, 6, out, place + 1)
        out[place] = _SPACE
        place = _digits(np.uint64(x[i]), 1, out, place + 1)
        out[place] = _SPACE
        place = _digits(np.uint64(y[i]), 1, out, place + 1)
        out[place] = _SPACE
        out[place + 1] = _ZERO + p[i]
        out[place + 2] = _NEWLINE
        place += 3
    return place


@compiled
def _digits(value: np.uint64, at_least: int, out: NDArray[np.uint8], place: int) -> int:
    """Write a number with leading zeros up to `at_least` digits; return the place after it."""
    num_digits, rest = 1, value // np.uint64(10)
    while rest > np.uint64(0):
        num_digits += 1
        rest //= np.uint64(10)
    num_digits = max(num_digits, at_least)
    for at in range(place + num_digits - 1, place - 1, -1):
        quotient = value // np.uint64(10)
        out[at] = _ZERO + np.uint8(value - quotient * np.uint64(10))
        value = quotient
    return place + num_digits
