"""Storms of any seeds on a cluster of their own: `python -m tests.chaos --seed 1 --rounds 100`.

Prints each storm's schedule and what became of it; exits with 1 where something did not hold, and says how to see it
again.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.arena import AT_LEAST_ONCE, EXACTLY_ONCE, Arena
from tests.chaos.schedule import GENTLE, ROUGH
from tests.chaos.site import Site
from tests.chaos.storm import weather

MODES = (AT_LEAST_ONCE, EXACTLY_ONCE)
MENUS = {"gentle": GENTLE, "rough": ROUGH}


def main() -> int:
    """Run the storms that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first storm's seed; the others follow it")
    parser.add_argument("--rounds", type=int, default=1, help="how many storms")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a storm")
    parser.add_argument("--menu", choices=MENUS, default="rough", help="gentle: nobody dies and nothing may come twice")
    parser.add_argument("--mode", choices=MODES, help="of delivery; in turn if not given: exactly once for even seeds")
    chosen = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    failed: list[int] = []
    with tempfile.TemporaryDirectory(prefix="weir-chaos-") as name, Site(Path(name)) as site:
        for seed in range(chosen.seed, chosen.seed + chosen.rounds):
            folder = Path(name) / f"{seed}"
            folder.mkdir()
            mode = chosen.mode or MODES[1 - seed % 2]
            if not _ride_out(Arena(site, folder, seed, mode=mode), chosen.seconds, chosen.menu):
                failed.append(seed)
    given = f" --mode {chosen.mode}" if chosen.mode else ""
    again = f"python -m tests.chaos --seconds {chosen.seconds} --menu {chosen.menu}{given} --seed"
    _say(f"{chosen.rounds - len(failed)} of {chosen.rounds} storms were ridden out")
    for seed in failed:
        _say(f"again: {again} {seed}")
    return 1 if failed else 0


def _ride_out(arena: Arena, seconds: float, menu: str) -> bool:
    started, name = time.monotonic(), f"seed {arena.seed}, {arena.mode},"
    try:
        found = weather(arena, seconds, MENUS[menu])
    except AssertionError as error:
        _say(
            f"seed {arena.seed}, {arena.mode}, FAILED after {time.monotonic() - started:.0f} s: {error}\n{arena.tell()}"
        )
        return False
    finally:
        arena.close()
    _say(
        f"{name} held: {found.inputs} records, {found.verdicts} verdicts, {found.letters} dead letters,"
        f" {found.skipped} skipped, {found.duplicates} equal copies, {time.monotonic() - started:.0f} s"
    )
    return True


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
