"""Which process of pytest-xdist runs what, and what the collector of garbage leaves alone."""

import gc
from pathlib import PurePosixPath

import pytest

#: Files of tests/e2e with a server of their own. All others share one, and with it one process of pytest-xdist: each
#: further one would make the registry, the server and its workers again, which is some fifteen seconds of a core.
OWN_SERVER = {
    "test_changed_library.py",
    "test_diagnosis.py",
    "test_parity_gate.py",
    "test_records.py",
    "test_restarts.py",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadFileScheduling

    class ByServer(LoadFileScheduling):
        """Gives out whole files, and those that share the server as one."""

        def _split_scope(self, nodeid: str) -> str:
            path = PurePosixPath(nodeid.partition("::")[0])
            return "server" if path.parent.name == "e2e" and path.name not in OWN_SERVER else str(path)

    return ByServer(config, log) if config.getoption("dist") == "loadfile" else None


# Each process imports all libraries and makes all tests before its first one. Hardly anything of it is garbage, and to
# look for that takes a fourth of the time.
gc.disable()


def pytest_collection_finish():
    """Modules and tests stay: not to look at them again at each collection of garbage saves a fifteenth of the time."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure():
    """What is frozen is not taken down at the end, and extension modules would report it as leaked."""
    gc.unfreeze()
    gc.enable()
