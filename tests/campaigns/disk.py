"""A disk whose power can be cut: ext4 in a file, on a loop device.

The cut is ext4's own `shutdown` call. What was not synced is gone after it, and every later call fails, as if the
machine had stopped there.
"""

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path

_EXT4_IOC_SHUTDOWN = 0x8004587D
#: Without its journal: as if nothing had been written since the last sync. With it: the names and sizes of files are
#: there and what is in them is not, as after a sync of something else.
NOTHING_MORE, NAMES_ONLY = 2, 1
CUTS = {"nothing more": NOTHING_MORE, "names only": NAMES_ONLY}


class NoDisk(Exception):
    """This machine cannot have such a disk; the text says why."""


class LoopDisk:
    """An ext4 file system below `folder`, mounted at `mount`."""

    def __init__(self, folder: Path, megabytes: int = 512) -> None:
        self.image, self.mount = folder / "disk.img", folder / "disk"
        if os.geteuid() != 0:
            raise NoDisk("mounting a disk needs root")
        if shutil.which("mkfs.ext4") is None:
            raise NoDisk("mkfs.ext4 is not installed")
        self.mount.mkdir()
        with self.image.open("wb") as file:
            file.truncate(megabytes << 20)
        _run("mkfs.ext4", "-q", "-F", str(self.image))
        self._mount()

    def sync(self) -> None:
        """Make all that is on it safe."""
        _run("sync", "-f", str(self.mount))

    def cut(self, kind: int = NOTHING_MORE) -> None:
        """Cut the power. Returns when nothing more reaches the disk."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _EXT4_IOC_SHUTDOWN, struct.pack("I", kind))
        finally:
            os.close(descriptor)

    def remount(self) -> None:
        """Switch it on again, once nobody has a file of it open."""
        self._unmount()
        self._mount()

    def close(self) -> None:
        """Take it away."""
        with contextlib.suppress(NoDisk):
            self._unmount()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.mount))

    def _unmount(self) -> None:
        end = time.monotonic() + 10
        while True:
            try:
                return _run("umount", str(self.mount))
            except NoDisk:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)


def _run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode:
        raise NoDisk(f"{argv[0]}: {done.stderr.strip() or done.returncode}")
