"""FlatBuffers read by columns, against buffers that the format's own builder made."""

import struct

import flatbuffers
import numpy as np
import pytest

from eventsam.io.flatbuffer import Field, Root

ROWS = [(1 << 40, 2.5, -3), (0, 0.0, 0), (-5, 1e30, 7), (9, 0.0, -1)]


def built(force_defaults: bool = False, size_prefixed: bool = True) -> np.ndarray:
    builder = flatbuffers.Builder(64)
    builder.ForceDefaults(force_defaults)
    text, numbers = builder.CreateString("gr\xfcn"), builder.CreateByteVector(b"12345")
    tables = []
    for t, value, kind in ROWS:
        builder.StartObject(4)
        builder.PrependInt64Slot(0, t, 0)
        builder.PrependFloat32Slot(2, value, 0)
        builder.PrependInt8Slot(3, kind, 0)
        tables.append(builder.EndObject())
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    rows = builder.EndVector()
    builder.StartObject(5)
    for slot, value in ((0, rows), (1, text), (3, numbers)):
        builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    builder.PrependInt32Slot(4, -7, 0)
    finish = builder.FinishSizePrefixed if size_prefixed else builder.Finish
    finish(builder.EndObject(), file_identifier=b"TEST")
    return np.frombuffer(bytes(builder.Output()), np.uint8)


@pytest.mark.parametrize("force_defaults", [False, True])
@pytest.mark.parametrize("size_prefixed", [False, True])
def test_fields_vectors_and_tables(force_defaults: bool, size_prefixed: bool) -> None:
    data = built(force_defaults, size_prefixed)
    root = Root(data, b"TEST", size_prefixed)
    assert (root.scalar(4, "<i4"), root.scalar(2, "<i8", -1), root.scalar(9, "<i8", 4)) == (-7, -1, 4)
    assert (root.text(1), root.text(2)) == ("gr\xfcn", "")
    start, count = root.vector(3, 1)
    assert data[start : start + count].tobytes() == b"12345"
    assert root.vector(2, 1) == (0, 0)
    t, value, kind, absent = root.tables(0, [Field(0, "<i8"), Field(2, "<f4"), Field(3, "i1"), Field(1, "<i2", 8)])
    assert list(zip(t.tolist(), value.tolist(), kind.tolist(), strict=True)) == [
        (t, float(np.float32(value)), kind) for t, value, kind in ROWS
    ]
    assert absent.tolist() == [8] * len(ROWS)


def test_every_cut_and_offsets_that_lead_out_are_refused() -> None:
    data = built()
    with pytest.raises(ValueError, match="marked b'TEST', expected b'EVTS'"):
        Root(data, b"EVTS")
    for size in range(len(data)):
        with pytest.raises(ValueError, match="truncated"):
            Root(data[:size], b"TEST")
    for place in range(4, len(data) - 4):
        hurt = data.copy()
        hurt[place : place + 4] = np.frombuffer(struct.pack("<I", 0x7FFFFFF0), np.uint8)
        try:
            root = Root(hurt, b"TEST")
            root.tables(0, [Field(0, "<i8"), Field(2, "<f4")])
            root.text(1)
        except ValueError:
            continue
