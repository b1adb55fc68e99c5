"""One check of `weir check` and its result; runs a check within a time limit.

The checks themselves are in `kafka_checks` and `model_checks`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from schemas.errors import ModerationError

Status = Literal["ok", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check."""

    name: str
    status: Status
    found: str


def check(name: str, look: Callable[[], str], timeout_s: float) -> CheckResult:
    """Run one check; it fails where it raises, or has not ended in time.

    Args:
        name: what is checked.
        look: says what it found, or raises.
        timeout_s: longest time; the thread of a check that takes longer is left behind.
    """
    result: list[CheckResult] = []

    def run() -> None:
        try:
            result.append(CheckResult(name, "ok", look()))
        except ModerationError as error:
            result.append(CheckResult(name, "fail", "; ".join(str(error).splitlines())))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the other checks from running
            first = str(error).partition("\n")[0]
            result.append(CheckResult(name, "fail", f"{type(error).__name__}: {first}"[:300]))

    thread = threading.Thread(target=run, name=f"weir-check-{name}", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return result[0] if result else CheckResult(name, "fail", f"no result within {timeout_s:g} s")
