"""SIGKILLs at seeded moments against an audit: `python -m tests.workers.audit.kill_storm --seed 1`.

A driver or one of its actors is killed, in turn by chance, after a number of blocks that chance says. At the end the
rows are compared with those of a run that nobody disturbed, and what was judged twice is counted.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.workers.audit.scripted_lane import ScriptedLane, asked, files_of, prompts_asked, rows_of, write_parquet
from workers.audit.actors import Pool, ray_for
from workers.audit.run import AuditRun
from workers.audit.run_folder import RunFolder
from workers.audit.run_lock import driving

ACTORS = 2
LOOK_S = 0.02


class Storm(NamedTuple):
    """What became of one: kills made, rows, prompts judged more than once, whether all rows and files are equal."""

    kills: int
    rows: int
    judged_again: int
    equal: bool


def rows_of_storm(rows: int) -> list[dict[str, object]]:
    """Rows whose texts are all different, so that each prompt that is asked again was lost."""
    return [
        {"key": f"e{number}", "who": "acme", "body": f"row {number}{' kill' * (number % 9 == 0)}", "at": number * 60}
        for number in range(rows)
    ]


def storm(folder: Path, seed: int, kills: int, rows: int, block_rows: int, seconds_a_call: float) -> Storm:
    """Run one, and a quiet run after it."""
    random = Random(seed)
    file = write_parquet(folder / "rows.parquet", rows_of_storm(rows))  # type: ignore[arg-type]
    run, traces = folder / "run", folder / "traces"
    traces.mkdir()
    command = [sys.executable, "-m", "tests.workers.audit.kill_storm", "--drive", str(run), str(file), str(traces)]
    command += [str(block_rows), str(seconds_a_call)]
    made, blocks = 0, -(-rows // block_rows)
    moments = sorted(random.sample(range(1, blocks - 1), kills))
    driver = subprocess.Popen(command)
    done = RunFolder(str(run))
    while driver.poll() is None or driver.returncode != 0:
        if driver.returncode is not None:
            assert driver.returncode == -signal.SIGKILL, driver.returncode
            driver = subprocess.Popen(command)
        try:
            driver.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            if made < kills and len(done.done()) >= moments[made]:
                made += _kill(driver, traces, random)
    with tempfile.TemporaryDirectory() as quiet:
        order = asked(Path(quiet) / "run", file, block_rows)
        with ray_for(None, Pool(ACTORS, 0.5, 0.0), {}, logs=False):
            AuditRun(order).execute(ScriptedLane(quiet), Pool(ACTORS, 0.5, 0.0))
        equal = rows_of(run) == rows_of(Path(quiet) / "run") and files_of(run) == files_of(Path(quiet) / "run")
    return Storm(made, rows, prompts_asked(traces) - rows, equal)


def _kill(driver: subprocess.Popen[bytes], traces: Path, random: Random) -> int:
    """Kill the driver or an actor that lives; 0 where there was none any more."""
    pids = [int(pid) for pid in (traces / "pids").read_text(encoding="utf-8").split()]
    living = [pid for pid in pids if _is_actor(pid)]
    victim = driver.pid if random.random() < 0.5 or not living else random.choice(living)
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    if victim == driver.pid:
        driver.wait()
    return 1


def _is_actor(pid: int) -> bool:
    """Whether that process is still the actor that it was: numbers come again."""
    try:
        return b"MapWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _drive(run: str, file: str, traces: str, block_rows: str, seconds_a_call: str) -> None:
    pool = Pool(ACTORS, 0.5, 0.0)
    lane = ScriptedLane(traces, seconds_a_call=float(seconds_a_call))
    with driving(run) as still_ours, ray_for(None, pool, {}, logs=False):
        AuditRun(asked(run, Path(file), int(block_rows)), still_ours).execute(lane, pool)


if __name__ == "__main__":
    if "--drive" in sys.argv:
        _drive(*sys.argv[2:])
        raise SystemExit(0)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--rows", type=int, default=80_000)
    parser.add_argument("--block-rows", type=int, default=40)
    parser.add_argument("--seconds-a-call", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        seen = storm(Path(place), options.seed, options.kills, options.rows, options.block_rows, options.seconds_a_call)
    share = seen.judged_again / seen.rows
    print(f"seed {options.seed}: {seen._asdict()}, {share:.2%} judged again")  # noqa: T201 - its result
    raise SystemExit(0 if seen.equal and share < 0.02 and seen.kills == options.kills else 1)
