"""One check: it says what it found or why it failed, and never keeps the next one waiting."""

import threading
import time

from schemas.errors import ConfigurationError
from workers.tools.inspect.check import check


def raising(error: Exception) -> str:
    raise error


def test_a_check_says_what_it_found() -> None:
    finding = check("broker", lambda: "there", 5)
    assert (finding.name, finding.status, finding.found) == ("broker", "ok", "there")


def test_our_own_error_is_the_finding() -> None:
    finding = check("policy", lambda: raising(ConfigurationError("a: wrong\nb: wrong")), 5)
    assert (finding.status, finding.found) == ("fail", "a: wrong; b: wrong")


def test_any_other_error_fails_the_check_and_nothing_else() -> None:
    finding = check("topic", lambda: raising(RuntimeError("boom\nlong story")), 5)
    assert (finding.status, finding.found) == ("fail", "RuntimeError: boom")


def test_a_check_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    started = time.monotonic()
    finding = check("broker", lambda: str(release.wait(20)), 0.05)
    release.set()
    assert time.monotonic() - started < 5
    assert (finding.status, finding.found) == ("fail", "no result within 0.05 s")
