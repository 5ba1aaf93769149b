"""The header lines of AEDAT files: where they end, and what they say."""

import numpy as np
import pytest

from eventsam.io.aedat_header import MAX_LINE, read_aedat_header


def read(data: bytes) -> tuple[str, tuple[str, ...], int]:
    header = read_aedat_header(np.frombuffer(data, np.uint8))
    return header.version, header.lines, header.end


START = b"#!AER-DAT2.0\r\n"


@pytest.mark.parametrize(
    ("rest", "lines"),
    [
        (b"", 0),
        (b"# a\r\n#b\r\n", 2),
        (b"# a\r\n# no end", 1),
        (b"# a\r\n#\x00b\r\n", 1),
        (b"# a\r\n x\r\n", 1),
        (b"# a\r\n#" + b"x" * MAX_LINE + b"\r\n", 1),
        (b"#End Of ASCII Header\r\n# no more\r\n", 1),
        (b"# End of ASCII Header\r\n# no more\r\n", 1),
        (b"#!END-HEADER\r\n# no more\r\n", 1),
    ],
)
def test_where_it_ends(rest: bytes, lines: int) -> None:
    version, found, end = read(START + rest)
    assert version == "2.0" and len(found) == lines
    assert end == len(START) + sum(len(line) + 2 for line in rest.split(b"\r\n")[:lines])


def test_values() -> None:
    text = START + b"# AEChip: a.b.Davis346blue\r\n# eventsam_t_offset_us 15\r\n#Source 1: x\r\n"
    header = read_aedat_header(np.frombuffer(text, np.uint8))
    assert (header.value("AEChip"), header.value("aechip")) == ("a.b.Davis346blue",) * 2
    assert header.value("eventsam_t_offset_us") == "15"
    assert header.value("AEC") is None and header.value("Nothing") is None


@pytest.mark.parametrize("data", [b"", b"#", b"# text\r\n", b"\x00" * 40])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an AEDAT file"):
        read(data)
