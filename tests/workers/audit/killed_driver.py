"""A driver of an audit that kills itself with SIGKILL once three blocks are done. Arguments: run, file, traces."""

import os
import signal
import sys
from pathlib import Path

from tests.workers.audit.scripted_lane import ScriptedLane, asked
from workers.audit.actors import Pool, ray_for
from workers.audit.manifest import BlockMarker
from workers.audit.run import AuditRun
from workers.audit.run_lock import driving

if __name__ == "__main__":
    run, file, traces = sys.argv[1:]
    pool = Pool(2, 0.5, 0.0)
    done = []

    def told(marker: BlockMarker) -> None:
        done.append(marker)
        if len(done) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    with driving(run) as still_ours, ray_for(None, pool, {}, logs=False):
        order = asked(run, Path(file))
        AuditRun(order, still_ours).execute(ScriptedLane(traces, seconds_a_call=0.05), pool, told)
