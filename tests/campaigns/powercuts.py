"""Power cuts under load, then at chosen places: ``python -m campaigns.powercuts --rounds 10``.

The whole data directory is on the disk that is cut, and every answer waits for a sync.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ledger import Ledger, Line, Verdict, check, kill_all, rows_of
from running import Server

from campaigns import directed
from campaigns.disk import CUTS, LoopDisk, NoDisk
from campaigns.kills import CHAOS, TWO_WORKERS

#: Within it some rounds end before the recorder's first commit, and some after several.
LOAD_S = (0.3, 6.0)


def run(folder: Path, rounds: int, seed: int) -> Verdict:
    """Return what was wrong in the end; each round says how it went. Raises NoDisk."""
    disk = LoopDisk(folder)
    lines: list[Line] = []
    draw = random.Random(seed)
    server = None
    try:
        server = Server(disk.mount / "data", "--gateways", "2")
        server.deploy("m", TWO_WORKERS, wait=False)
        server.deploy("n", CHAOS)
        server.settled("m")
        for name in ("m", "n"):
            server.api("PUT", f"/{name}/inference-table", {"durability": "power-loss"})
        for number in range(rounds):
            kind = draw.choice(list(CUTS))
            with Ledger(server, "m", "n", clients=8, seed=seed + number) as ledger:
                ledger.wait_for(20, 60)
                time.sleep(draw.uniform(*LOAD_S))
                ledger.cut()
                disk.cut(CUTS[kind])
                kill_all(server)
            disk.remount()
            server.start()
            lines += ledger.lines
            rows = rows_of(server, "m", "n")
            verdict = check(lines, rows)
            print(f"cut {number}, {kind}: {ledger}; {len(rows)} rows in all; {verdict}", flush=True)
            if verdict:
                break
        server.stop()
    finally:
        if server is not None and server.process.poll() is None:
            kill_all(server)
        disk.close()
    outcomes = Counter(line.outcome for line in lines)
    print(f"seed {seed}: {number + 1} cuts, {dict(outcomes)}, {len(rows)} rows: {verdict}")
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    given = parser.parse_args()
    os.nice(5)
    with tempfile.TemporaryDirectory(prefix="tallystick-cuts-") as folder:
        try:
            is_wrong = bool(run(Path(folder), given.rounds, given.seed))
        except NoDisk as reason:
            print(f"skipped: this machine cannot cut the power of a disk: {reason}")
            return
    sys.exit(is_wrong or directed.main([]))


if __name__ == "__main__":
    main()
