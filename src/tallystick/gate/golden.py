"""The golden file: rows of training with the bytes a client would send, and what training made of them, step by step.

`parity/golden.msgpack` in the model's artifact: MessagePack, compressed with zlib, never pickle. Arrays are the bytes
of little-endian doubles, so that what is compared is what was computed, to the last bit.
"""

from __future__ import annotations

import array
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tallystick.errors import InvalidParameter

if TYPE_CHECKING:
    # Control reads golden files too, and is a process without NumPy.
    from numpy.typing import NDArray

FOLDER, FILE = "parity", "golden.msgpack"
FORMAT = 1
#: What a file may unfold to: a damaged or hostile one must not fill the memory of a worker.
MAX_BYTES = 64 << 20


class Matrix(msgspec.Struct, frozen=True):
    """Numbers or texts, `rows` x `width`; row-major. `texts` is set where the values are no numbers."""

    rows: int
    width: int
    numbers: bytes = b""
    texts: tuple[str | None, ...] = ()

    @classmethod
    def of(cls, values: Any) -> Matrix:
        """Return the matrix of an array, frame, series or list: one row for each of its first axis."""
        import numpy as np

        whole = np.asarray(values)
        table = whole.reshape(len(whole), -1)
        if table.dtype.kind in "biuf":
            numbers = np.ascontiguousarray(table, dtype="<f8").tobytes()
            return cls(table.shape[0], table.shape[1], numbers=numbers)
        texts = tuple(None if _is_missing(value) else str(value) for value in table.ravel().tolist())
        return cls(table.shape[0], table.shape[1], texts=texts)

    @property
    def is_whole(self) -> bool:
        """Whether there are as many values as rows and width say."""
        cells = self.rows * self.width
        return cells >= 0 and (len(self.texts) == cells if self.texts else len(self.numbers) == 8 * cells)

    def values(self) -> NDArray[Any]:
        """Return the values, rows x width: doubles, or texts as objects."""
        import numpy as np

        if self.texts:
            return np.array(self.texts, dtype=object).reshape(self.rows, self.width)
        return np.frombuffer(self.numbers, dtype="<f8").reshape(self.rows, self.width)

    def cells(self) -> list[float] | list[str | None]:
        """Return the values row by row, as plain numbers or texts."""
        if self.texts:
            return list(self.texts)
        numbers = array.array("d", self.numbers)
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()


def _is_missing(value: Any) -> bool:
    return value is None or value != value


class Column(msgspec.Struct, frozen=True):
    """One input column as the model's frame had it: values are null, true/false, numbers or texts (times as ISO 8601).

    `dtype` is that of the frame (`float64`, `int64`, `object`, `str`, `category`, `datetime64[ns]` …).
    """

    name: str
    dtype: str
    values: tuple[bool | int | float | str | None, ...]


class Step(msgspec.Struct, frozen=True):
    """What one step of the model gave for the first rows; `path` is `prep/num/scale`, `columns` name its output."""

    path: str
    columns: tuple[str, ...]
    output: Matrix


class Wire(msgspec.Struct, frozen=True):
    """The first `rows` golden rows as one request body, as a client would send them."""

    #: dataframe_records | dataframe_split | inputs | instances | csv | arrow
    encoding: str
    content_type: str
    rows: int
    body: bytes


class Quality(msgspec.Struct, frozen=True):
    """The metric over golden rows with a label, offline: `auc`, `accuracy` or `rmse`; the interval holds 95 %."""

    metric: str
    value: float
    low: float
    high: float
    rows: int


class Golden(msgspec.Struct, frozen=True):
    """Golden rows, and all that was known of them where the model was trained."""

    rows: int
    columns: tuple[Column, ...]
    #: What `predict` of the served flavor answers: rows x outputs.
    predictions: Matrix
    wires: tuple[Wire, ...] = ()
    steps: tuple[Step, ...] = ()
    #: NaN where a row has no label; empty where none has. Of texts their places in `classes`.
    labels: bytes = b""
    quality: Quality | None = None
    #: Where classes are texts: which one each number in `labels` stands for.
    classes: tuple[str, ...] = ()
    #: Largest difference between two offline runs over the same rows, in units of the predictions' deviation.
    noise: float = 0.0
    #: trees | linear | other: what a small difference of inputs may do to predictions.
    model_kind: str = "other"
    #: python, platform, machine, threads, locale, time_zone, and `package:<name>` -> version.
    environment: dict[str, str] = {}
    #: What is not here, and why; repeated in every report.
    degraded: tuple[str, ...] = ()
    format: int = FORMAT


def render(golden: Golden) -> bytes:
    """Return the bytes of a golden file."""
    return zlib.compress(msgspec.msgpack.encode(golden), 6)


def parse(block: bytes) -> Golden:
    """Return the golden rows in a file's bytes. Raises InvalidParameter when it is none, or too large."""
    try:
        unfold = zlib.decompressobj()
        content = unfold.decompress(block, MAX_BYTES)
        if unfold.unconsumed_tail:
            raise InvalidParameter(f"the golden file unfolds to more than {MAX_BYTES >> 20} MiB")
        found = msgspec.msgpack.decode(content, type=Golden)
    except (zlib.error, msgspec.DecodeError) as error:
        raise InvalidParameter("the golden file cannot be read: it is damaged or of another kind") from error
    if found.format != FORMAT:
        raise InvalidParameter(f"the golden file has format {found.format}, expected {FORMAT}")
    if not all(matrix.is_whole for matrix in (found.predictions, *(step.output for step in found.steps))):
        raise InvalidParameter("the golden file cannot be read: it has not as many values as it says")
    return found


def find(model_folder: Path) -> Golden | None:
    """Return the golden rows in a model's folder; None where there are none. Raises InvalidParameter as `parse`."""
    path = model_folder / FOLDER / FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidParameter(f"the golden file is larger than {MAX_BYTES >> 20} MiB")
        block = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse(block)
