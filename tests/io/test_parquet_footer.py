"""The footer reader against pyarrow's on whole files, and on damaged ones that pyarrow's own accessors die of."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventsam.io.parquet_footer import read_footer
from eventsam.io.recording import RecordingError

TYPES = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("footer") / "a.parquet"
    random = np.random.default_rng(0)
    columns = {name: (random.random(1000) * 250).astype(name) for name in TYPES}
    columns["uint64"][7] = 2**64 - 1
    table = pa.table({**columns, "text": ["a"] * 1000, "list": [[1, 2]] * 1000})
    pq.write_table(table, path, row_group_size=300, compression={"uint8": "none", "text": "zstd"})
    return path


def test_it_agrees_with_pyarrow(file: Path) -> None:
    footer, expected = read_footer(file), pq.ParquetFile(file).metadata
    assert (footer.num_rows, len(footer.row_groups)) == (expected.num_rows, expected.num_row_groups)
    for number, group in enumerate(footer.row_groups):
        theirs = expected.row_group(number)
        assert group.num_rows == theirs.num_rows
        for column in range(theirs.num_columns):
            other = theirs.column(column)
            mine = group.columns[other.path_in_schema]
            start = min(filter(None, (other.dictionary_page_offset, other.data_page_offset)))
            assert (mine.num_values, mine.start) == (other.num_values, start)
            assert mine.end == start + other.total_compressed_size
            assert mine.uncompressed_bytes == other.total_uncompressed_size
            if other.path_in_schema in TYPES:
                span = mine.span(np.dtype(other.path_in_schema))
                assert span is not None
                assert span.tolist() == [other.statistics.min, other.statistics.max]


def test_missing_statistics_are_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": [1.0, 2.0]}), tmp_path / "a", write_statistics=False)
    pq.write_table(pa.table({"t": pa.array([None, None], pa.int64())}), tmp_path / "b")
    for name in ("a", "b"):
        assert read_footer(tmp_path / name).row_groups[0].columns["t"].span(np.dtype(np.float64)) is None
    chunk = read_footer(tmp_path / "b").row_groups[0].columns["t"]
    assert chunk.span(np.dtype(np.int64)) is None


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_read_or_refused(data: st.DataObject, file: Path, tmp_path: Path) -> None:
    whole = bytearray(file.read_bytes())
    start = read_footer(file).start
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(start, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(whole)
    try:
        for group in read_footer(tmp_path / "damaged").row_groups:
            for chunk in group.columns.values():
                chunk.span(np.dtype(np.int64))
    except RecordingError as error:
        assert "damaged" in str(error)


def test_endless_nesting_is_refused(tmp_path: Path) -> None:
    for body in (b"\x1c" * 5000, b"\x19" + b"\x19" * 5000):
        path = tmp_path / "deep"
        path.write_bytes(b"PAR1" + body + len(body).to_bytes(4, "little") + b"PAR1")
        with pytest.raises(RecordingError, match="damaged"):
            read_footer(path)
