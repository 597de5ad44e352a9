"""Kills at random, round after round: ``python -m campaigns.kills --rounds 10 --seconds 20``."""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from ledger import Ledger, Line, Verdict, check, kill_all, kill_one, rows_of
from running import MODELS, Server

CHAOS = {"entity_name": str(MODELS / "chaos.py"), "name": "chaos"}
TWO_WORKERS = CHAOS | {"max_provisioned_concurrency": 8, "min_provisioned_concurrency": 8}
VICTIMS = ["gateway-0", "gateway-1", "gateway-0", "gateway-1", "records", "records", "records", "worker", "control"]
#: Share of the kills that take the whole tree.
ALL_SHARE = 0.05
DURABILITIES = ("process-crash", "power-loss")


def run(folder: Path, rounds: int, seconds: float, seed: int, environment: dict[str, str] | None = None) -> Verdict:
    """Return what was wrong in the end; each round says how it went."""
    server = Server(folder / "data", "--gateways", "2", env=environment)
    lines: list[Line] = []
    killed: Counter[str] = Counter()
    try:
        server.deploy("m", TWO_WORKERS, wait=False)
        server.deploy("n", CHAOS)
        server.settled("m")
        for number in range(rounds):
            durability = DURABILITIES[number % len(DURABILITIES)]
            server.api("PUT", "/m/inference-table", {"durability": durability})
            draw = random.Random(f"{seed} {number}")
            with Ledger(server, "m", "n", clients=8, seed=seed + number) as ledger:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    time.sleep(draw.uniform(0.02, 1.0))
                    if draw.random() < ALL_SHARE:
                        kill_all(server)
                        server.start()
                        killed["all"] += 1
                    else:
                        killed[kill_one(server, draw, VICTIMS)] += 1
                ledger.wait_for(50, 120)
            lines += ledger.lines
            rows = rows_of(server, "m", "n")
            verdict = check(lines, rows)
            print(f"round {number}, {durability}: {ledger}; {len(rows)} rows in all; {verdict}", flush=True)
            if verdict:
                break
    finally:
        server.stop()
    outcomes = Counter(line.outcome for line in lines)
    print(f"seed {seed}: {killed.total()} kills {dict(killed)}, {dict(outcomes)}, {len(rows)} rows: {verdict}")
    return verdict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0, help="of one round")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 20))
    given = parser.parse_args()
    os.nice(5)
    with tempfile.TemporaryDirectory(prefix="tallystick-kills-") as folder:
        sys.exit(bool(run(Path(folder), given.rounds, given.seconds, given.seed)))


if __name__ == "__main__":
    main()
