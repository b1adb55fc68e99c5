"""Rules of a breaker small enough for a test, and names for what it is shown."""

from pipelines.breaker.rules import BreakerRules
from schemas.reasons import Reason
from schemas.verdict import Severity

DEFAULTS = BreakerRules()
SMALL = BreakerRules(
    window_records=200,
    window_s=60.0,
    failure_ratio=0.5,
    failure_min_records=40,
    consecutive_failures=20,
    input_error_ratio=0.5,
    input_error_min_records=50,
    consecutive_input_errors=30,
)
# The first always counts as a failure, the second only while it may be our own doing.
NOT_FINITE, UNPARSABLE, NOT_JSON = Reason.NON_FINITE_LOGITS, Reason.UNPARSABLE_OUTPUT, Reason.INVALID_JSON
SAFE = Severity.SAFE
