"""A reference as files: msgpack for what has structure, npz for the joint, parquet for golden rows. No pickle.

`reference.msgpack` profile and everything small · `joint.npz` cell means · `golden.parquet` rows, predictions, labels.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np
import pandas as pd

from tallystick.errors import InvalidParameter

if TYPE_CHECKING:
    from tallystick.parity.reference import Reference

    ReferenceT = TypeVar("ReferenceT", bound=Reference)

PROFILE_FILE, JOINT_FILE, GOLDEN_FILE = "reference.msgpack", "joint.npz", "golden.parquet"
_APART = ("joint", "rows", "predictions", "labels", "model")
_FORMAT = 1
_BESIDE = {"predictions": "__prediction__", "labels": "__label__"}


def files_of(reference: Reference) -> dict[str, bytes]:
    """Return file name -> content."""
    struct = {name: getattr(reference, name) for name in type(reference).__struct_fields__ if name not in _APART}
    joint = reference.joint
    arrays: dict[str, Any] = {
        "owners": joint.owners,
        "covariance": joint.covariance.astype(np.float32),
        "coherence": joint.coherence,
        "temper": joint.temper,
        "spearman": joint.spearman.astype(np.float16),
        "scalars": np.array([joint.rows, int(joint.folded)]),
    }
    for j in range(len(joint.means)):
        # Scores are within ±2.5: half precision keeps three digits, well below their sampling error.
        arrays[f"means_{j}"] = joint.means[j].astype(np.float16)
        arrays[f"shares_{j}"] = joint.shares[j].astype(np.float32)
        arrays[f"embedding_{j}"] = joint.embeddings[j].astype(np.float32)
    block = io.BytesIO()
    np.savez_compressed(block, **arrays)
    outer = {"format": _FORMAT, "reference": struct, "beside": _names_beside(reference.rows)}
    profile = msgspec.msgpack.encode(outer, enc_hook=_encode)
    return {PROFILE_FILE: profile, JOINT_FILE: block.getvalue(), GOLDEN_FILE: _golden(reference)}


def _golden(reference: Reference) -> bytes:
    block = io.BytesIO()
    rows = reference.rows.copy()
    for name in rows.columns:
        # Arrow has one type a column; mixed objects are kept as text, which is how levels are compared anyway.
        if rows[name].dtype == object and len({type(value) for value in rows[name].dropna()}) > 1:
            rows[name] = rows[name].astype(str).where(rows[name].notna(), None)
    for field, name in _names_beside(reference.rows).items():
        values = getattr(reference, field)
        if len(values) == len(rows) and len(values):
            rows[name] = values
    rows.to_parquet(block, compression="zstd", index=False)
    return block.getvalue()


def _names_beside(rows: pd.DataFrame) -> dict[str, str]:
    """Return field -> the column that it has beside golden rows: none that training had."""
    found = dict(_BESIDE)
    for field in found:
        while found[field] in rows:
            found[field] += "_"
    return found


def to_bytes(reference: Reference) -> bytes:
    """Return all files as one stored zip."""
    block = io.BytesIO()
    with zipfile.ZipFile(block, "w") as archive:
        for name, content in files_of(reference).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return block.getvalue()


def from_bytes(kind: type[ReferenceT], block: bytes) -> ReferenceT:
    """Return the reference in a zip; raises InvalidParameter when it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(block)) as archive:
            return _restored(kind, {name: archive.read(name) for name in (PROFILE_FILE, JOINT_FILE, GOLDEN_FILE)})
    except (zipfile.BadZipFile, KeyError) as error:
        raise InvalidParameter("this is not a parity reference") from error


def save(reference: Reference, folder: Path) -> Path:
    """Write the files of a reference."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files_of(reference).items():
        (folder / name).write_bytes(content)
    return folder


def load(kind: type[ReferenceT], folder: Path) -> ReferenceT:
    """Read the files of a reference; raises InvalidParameter naming the file that is missing or unreadable."""
    contents = {}
    for name in (PROFILE_FILE, JOINT_FILE, GOLDEN_FILE):
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise InvalidParameter(f"no parity reference here: {name} cannot be read") from error
    return _restored(kind, contents)


def _restored(kind: type[ReferenceT], contents: dict[str, bytes]) -> ReferenceT:
    try:
        outer = msgspec.msgpack.decode(contents[PROFILE_FILE])
        if outer.get("format") != _FORMAT:
            raise InvalidParameter(f"the reference has format {outer.get('format')!r}, expected {_FORMAT}")
        fields = dict(outer["reference"])
        fields["joint"] = _joint(np.load(io.BytesIO(contents[JOINT_FILE]), allow_pickle=False))
        rows = pd.read_parquet(io.BytesIO(contents[GOLDEN_FILE]))
        for name, column in outer.get("beside", _BESIDE).items():
            fields[name] = rows.pop(column).to_numpy() if column in rows else np.zeros(0)
        fields["rows"] = rows
        return msgspec.convert(fields, kind, dec_hook=_decode)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, ValueError, OSError) as error:
        raise InvalidParameter(
            "the parity reference cannot be read: its files are damaged or of another kind"
        ) from error


def _joint(arrays: Any) -> Any:
    from tallystick.parity.joint import Joint

    columns = sum(name.startswith("means_") for name in arrays.files)

    def each(prefix: str) -> tuple[Any, ...]:
        return tuple(arrays[f"{prefix}_{j}"].astype(np.float64) for j in range(columns))

    rows, folded = arrays["scalars"].tolist()
    return Joint(
        owners=arrays["owners"],
        means=each("means"),
        shares=each("shares"),
        covariance=arrays["covariance"].astype(np.float64),
        embeddings=each("embedding"),
        coherence=arrays["coherence"],
        temper=arrays["temper"],
        spearman=arrays["spearman"].astype(np.float64),
        rows=rows,
        folded=bool(folded),
    )


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"d": value.dtype.str, "b": value.tobytes()}
    raise NotImplementedError(type(value).__name__)


def _decode(kind: Any, value: Any) -> Any:
    """Restore arrays and frames; msgspec asks for each field whose type it does not know."""
    if isinstance(value, dict) and set(value) == {"d", "b"}:
        return np.frombuffer(value["b"], dtype=np.dtype(value["d"]))
    if isinstance(value, (np.ndarray, pd.DataFrame)):
        return value
    raise NotImplementedError(kind)
