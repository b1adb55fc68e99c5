"""A driver of a run that does nothing until its stdin ends. Arguments: run; `lease` for a file system without locks."""

import errno
import fcntl
import sys

from workers.audit.run_lock import driving

RENEW_S, LEASE_S = 0.1, 4.0  # so much later only if a busy machine stops the thread for so long


def no_locks(_descriptor: int, _operation: int) -> None:
    """As flock answers where a mount has none."""
    raise OSError(errno.ENOLCK, "no locks available")


if __name__ == "__main__":
    if sys.argv[2:] == ["lease"]:
        fcntl.flock = no_locks  # type: ignore[assignment]
    with driving(sys.argv[1], renew_s=RENEW_S, lease_s=LEASE_S):
        print("drives", flush=True)  # noqa: T201 - what the test waits for
        sys.stdin.read()
