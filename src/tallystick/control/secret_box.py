"""Seals secret values with a key that lies beside the database, so that a copy of the database tells none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from tallystick.errors import InternalError

KEY_FILE = "secret.key"


class SecretBox:
    """Seals and opens values with Fernet (AES-128-CBC and HMAC-SHA256).

    The key is made at the first `seal`, mode 0600, and kept for good: a backup of the database without it has
    no secrets.
    """

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / KEY_FILE

    def seal(self, value: bytes) -> str:
        """Return `value` sealed, as text to store."""
        if not self._file.exists():
            self._make_key()
        return self._fernet().encrypt(value).decode()

    def open(self, sealed: str) -> bytes:
        """Return the sealed value. Raises InternalError when the key is gone or another one."""
        try:
            return self._fernet().decrypt(sealed)
        except InvalidToken as error:
            raise InternalError(
                f"It was sealed with another key than the data directory's {KEY_FILE} has; put the secret again."
            ) from error

    def _fernet(self) -> Fernet:
        try:
            return Fernet(self._file.read_bytes().strip())
        except (OSError, ValueError) as error:
            raise InternalError(
                f"The key file {KEY_FILE} of the data directory is missing or damaged; restore it from a backup."
            ) from error

    def _make_key(self) -> None:
        descriptor, temporary = tempfile.mkstemp(prefix=KEY_FILE, dir=self._file.parent)  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link fails where a rename would replace: of two that make a key, both use the first.
            os.link(temporary, self._file)
        except FileExistsError:
            pass
        finally:
            os.unlink(temporary)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
