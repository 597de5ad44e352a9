"""On the path of a server's processes: gateways that send answers before they write their records.

Python imports a module of this name at its start.
"""

import sys

if "tallystick.gateway" in sys.orig_argv:
    from tallystick.journal.writer import Journal

    _tick, _flush = Journal.tick, Journal.flush

    def _flush_in_tick(journal: Journal) -> None:
        _flush(journal)
        _tick(journal)

    Journal.tick = _flush_in_tick
    Journal.flush = lambda journal: setattr(journal, "_is_flush_due", False)
