"""The table of all metrics. Nothing is measured that is not here; instruments are made from it only.

Names are those of OpenTelemetry's semantic conventions where there are any (messaging, semconv 1.44; process); ours
begin with `moderation.`. The values of every attribute are a closed set, or bounded by the settings: no event, user,
conversation or text can make a series (P10), and a tenant only where `telemetry.tenants` lists it.
"""

from typing import Final, get_args

from pipelines.breaker.alarms import Cause
from schemas.errors import Fault
from schemas.handling import Handled
from schemas.reasons import NOTHING_TO_JUDGE, Reason, Stage
from schemas.shadow import Difference
from schemas.turns.frame import TurnRole
from schemas.turns.verdict import TurnEnd
from schemas.verdict import Action, Category, Severity
from workers.telemetry.metrics.definition import Attribute, Metric

OTHER_TENANT: Final = "_other"  # no tenant's name begins so in `telemetry.tenants`
GUARD_FAILURES: Final = ("unavailable", "crashed", "failed")
REMOTE_STATES: Final = ("ready", "waiting", "down", "refused")
FRAME_RESULTS: Final = ("new", "held", "repeated", "ignored", "refused", "skipped")
SESSION_EVENTS_SEEN: Final = ("opened", "unknown", "closed_for_room", "evicted")
REBALANCE_EVENTS: Final = ("assigned", "revoked", "lost")

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # semconv's advice
_LONG_SECONDS = (*_SECONDS, 30.0, 60.0, 300.0, 1800.0)
_SHORT_SECONDS = (0.001, 0.0025, *_SECONDS, 30.0)
_POWERS = tuple(float(2**power) for power in range(18))

SYSTEM = Attribute("messaging.system", ("kafka",))
GROUP = Attribute("messaging.consumer.group.name", bound="`kafka.group_id`")
DESTINATION = Attribute("messaging.destination.name", bound="`topics.…` and the topics of the policy")
OPERATION = "messaging.operation.name"
ERROR = "error.type"
SERVER = Attribute("server.address", bound="`guard.remote.urls`", optional=True)
TENANT = Attribute("moderation.tenant", bound=f"`telemetry.tenants`, and `{OTHER_TENANT}`", optional=True)

# -- the consumer's: what comes, waits and goes

CONSUMED = Metric(
    "messaging.client.consumed.messages", "counter", "{message}", "Records taken in.", "stream",
    (SYSTEM, Attribute(OPERATION, ("poll",)), DESTINATION, GROUP), conventional=True,
)  # fmt: skip
SENT = Metric(
    "messaging.client.sent.messages", "counter", "{message}",
    "Verdicts, copies that the policy routes, and dead letters, acknowledged by the broker.", "stream",
    (SYSTEM, Attribute(OPERATION, ("send",)), DESTINATION), conventional=True,
)  # fmt: skip
OPERATION_DURATION = Metric(
    "messaging.client.operation.duration", "histogram", "s",
    "Time from sending a batch of outcomes to its acknowledgements, and of a commit.", "stream",
    (
        SYSTEM,
        Attribute(OPERATION, ("send", "commit")),
        Attribute(ERROR, ("refused",), on_failure=True),
    ),
    _SECONDS, conventional=True,
)  # fmt: skip
PROCESS_DURATION = Metric(
    "messaging.process.duration", "histogram", "s",
    "Time from asking the guard about a chunk of records to its answers, holds and retries included; one a chunk.",
    "stream", (SYSTEM, Attribute(OPERATION, ("process",))), _LONG_SECONDS, conventional=True,
)  # fmt: skip
BACKLOG = Metric(
    "moderation.backlog", "updowncounter", "{record}",
    "Effective backlog: records of this worker's partitions that are not completed; none while Kafka does not answer.",
    "stream",
)  # fmt: skip
OLDEST_AGE = Metric(
    "moderation.oldest_unfinished.age", "gauge", "s",
    "Age of the oldest unfinished record, by its own Kafka timestamp, and at least since its poll; 0 where nothing is"
    " unfinished.", "stream",
)  # fmt: skip
IN_FLIGHT_RECORDS = Metric(
    "moderation.in_flight.records", "updowncounter", "{record}", "Records delivered and not completed.", "stream"
)
IN_FLIGHT_BYTES = Metric(
    "moderation.in_flight.bytes", "updowncounter", "By", "Bytes of the records in flight.", "stream"
)
IN_FLIGHT_TOKENS = Metric(
    "moderation.in_flight.tokens", "updowncounter", "{token}", "Estimated tokens of the records in flight.", "stream"
)
INTAKE_PAUSED = Metric(
    "moderation.intake.paused", "updowncounter", "{worker}", "1 while an in-flight limit holds intake back.", "stream"
)
PARTITIONS = Metric(
    "moderation.partitions", "updowncounter", "{partition}", "Partitions that this worker owns.", "stream"
)
COMPLETED = Metric(
    "moderation.records.completed",
    "counter",
    "{record}",
    "Records whose outcome the broker has acknowledged.",
    "stream",
)
COMMIT_LAG = Metric(
    "moderation.commit.lag", "updowncounter", "{record}",
    "Offsets from the committed to the delivered one: what would be judged again if the worker ended now.", "stream",
)  # fmt: skip
REBALANCES = Metric(
    "moderation.rebalances", "counter", "{rebalance}", "Changes of this worker's partitions.", "stream",
    (Attribute("moderation.rebalance.event", REBALANCE_EVENTS),),
)  # fmt: skip
UNREADABLE = Metric(
    "moderation.partitions.unreadable", "gauge", "{partition}",
    "Partitions that wait because their next batch cannot be read.", "stream",
)  # fmt: skip
REMOVED = Metric(
    "moderation.records.removed", "counter", "{record}",
    "Records that the broker removed from the log before they were judged.", "stream",
)  # fmt: skip
GUARD_CALLS = Metric(
    "moderation.guard.calls", "counter", "{call}", "Calls of the guard; those with `error.type` are tried again.",
    "stream", (Attribute(ERROR, GUARD_FAILURES, on_failure=True),),
)  # fmt: skip
PUBLISH_WAITS = Metric(
    "moderation.publish.waits", "counter", "{wait}",
    "Times that outcomes were held up or sent again, because of the broker or the group.", "stream",
)  # fmt: skip

# -- the consumer's: what was decided

VERDICTS = Metric(
    "moderation.verdicts", "counter", "{verdict}", "Verdicts acknowledged by the broker.", "stream",
    (Attribute("moderation.severity", tuple(Severity)), Attribute("moderation.action", tuple(Action)), TENANT),
)  # fmt: skip
CATEGORIES = Metric(
    "moderation.verdict.categories", "counter", "{category}",
    "Categories named by acknowledged verdicts; a verdict may name several.", "stream",
    (Attribute("moderation.category", tuple(Category)), TENANT),
)  # fmt: skip
SKIPPED = Metric(
    "moderation.records.skipped", "counter", "{record}", "Records with nothing to judge, which need no outcome.",
    "stream", (Attribute("moderation.reason", tuple(reason for reason in Reason if reason in NOTHING_TO_JUDGE)),),
)  # fmt: skip
HANDLED = Metric(
    "moderation.handling", "counter", "{repair}",
    "What of judged events was repaired, dropped or not assessed, in the unit of its code.", "stream",
    (Attribute("moderation.handled", tuple(Handled)),),
)  # fmt: skip
DEAD_LETTERS = Metric(
    "moderation.dead_letters", "counter", "{record}", "Dead letters acknowledged by the broker.", "stream",
    (Attribute(ERROR, tuple(Reason)), Attribute("moderation.stage", tuple(Stage))),
)  # fmt: skip
BREAKER_OPEN = Metric(
    "moderation.breaker.open", "updowncounter", "{worker}", "1 while the breaker of this worker is open.", "stream"
)
BREAKER_CAUSES = Metric(
    "moderation.breaker.causes", "updowncounter", "{worker}", "1 for what has opened the breaker, while it is open.",
    "stream", (Attribute("moderation.breaker.cause", tuple(Cause)),),
)  # fmt: skip
DRIFT = Metric(
    "moderation.drift.distance", "gauge", "1",
    "Share of recent verdicts whose label differs from the baseline's mix; none while there is too little to compare.",
    "stream",
)  # fmt: skip

# -- the consumer's: what a candidate would have decided

SHADOW_RECORDS = Metric(
    "moderation.shadow.records", "counter", "{record}",
    "Records of the shadow lane's sample: compared with the candidate's outcome, or left out since too many wait"
    " (`dropped`) or no answer came (`unanswered`).", "stream",
    (Attribute("moderation.shadow.result", ("agreed", "disagreed", "dropped", "unanswered")),),
)  # fmt: skip
SHADOW_PAIRS = Metric(
    "moderation.shadow.pairs", "counter", "{record}", "Compared records by what live and the candidate made of them.",
    "stream",
    (
        Attribute("moderation.shadow.live", (*Severity, "dead_letter")),
        Attribute("moderation.shadow.candidate", (*Severity, "dead_letter")),
    ),
)  # fmt: skip
SHADOW_DIFFERENCES = Metric(
    "moderation.shadow.differences", "counter", "{difference}",
    "Ways in which the candidate's outcomes differed; a record may differ in several.", "stream",
    (Attribute("moderation.shadow.difference", tuple(Difference)),),
)  # fmt: skip
SHADOW_UNPUBLISHED = Metric(
    "moderation.shadow.unpublished", "counter", "{record}", "Records that could not be written to the shadow topic.",
    "stream",
)  # fmt: skip

# -- the guard replica's

BATCH_SIZE = Metric(
    "moderation.batch.size", "histogram", "{prompt}", "Prompts of one batch of the model.", "guard", (), _POWERS[:10]
)
BATCH_TOKENS = Metric(
    "moderation.batch.tokens", "histogram", "{token}", "Prompt tokens of one batch.", "guard", (), _POWERS[6:]
)
BATCH_DURATION = Metric(
    "moderation.batch.duration", "histogram", "s", "Time of one batch in the model.", "guard",
    (Attribute(ERROR, ("failed",), on_failure=True),), _SHORT_SECONDS,
)  # fmt: skip
QUEUE_DURATION = Metric(
    "moderation.queue.duration", "histogram", "s",
    "Longest wait of a live call's prompts for their batch, from arrival in the replica; one a call that needed the"
    " model.",
    "guard", (), _SHORT_SECONDS,
)  # fmt: skip
QUEUE_SIZE = Metric(
    "moderation.queue.size", "updowncounter", "{prompt}", "Live prompts that wait for the model.", "guard"
)
ASK_QUEUE_SIZE = Metric(
    "moderation.ask.queue.size", "updowncounter", "{prompt}", "Prompts of the Ask lane that wait for the model.",
    "guard",
)  # fmt: skip
BACKGROUND_QUEUE_SIZE = Metric(
    "moderation.background.queue.size", "updowncounter", "{prompt}",
    "Background prompts that wait until no live prompt does.", "guard",
)  # fmt: skip
BACKGROUND_PROMPTS = Metric(
    "moderation.background.prompts", "counter", "{prompt}", "Background prompts that the model judged.", "guard"
)
BACKGROUND_REFUSED = Metric(
    "moderation.background.refused", "counter", "{call}",
    "Background calls that were not taken on, because enough of them wait; they are tried again.", "guard",
)  # fmt: skip
TOKENS = Metric(
    "moderation.model.tokens", "counter", "{token}", "Tokens that the model has read and written.", "guard",
    (Attribute("gen_ai.token.type", ("input", "output")),),
)  # fmt: skip
DRAFT_TOKENS = Metric(
    "moderation.draft.tokens",
    "counter",
    "{token}",
    "Tokens of a verdict that were drafted before the model ran.",
    "guard",
)
DRAFT_ACCEPTED = Metric(
    "moderation.draft.accepted_tokens", "counter", "{token}", "Drafted tokens that the model itself chose.", "guard"
)
CACHE_HITS = Metric(
    "moderation.cache.hits", "counter", "{prompt}",
    "Prompts that got the completion of an equal one, kept or under way.", "guard",
)  # fmt: skip
CACHE_MISSES = Metric("moderation.cache.misses", "counter", "{prompt}", "Prompts that the model judged.", "guard")
CACHE_SIZE = Metric("moderation.cache.size", "updowncounter", "{prompt}", "Completions kept.", "guard")
REMOTE_CALLS = Metric(
    "moderation.remote.calls", "updowncounter", "{call}", "Calls of a server under way; with a remote engine.", "guard",
    (SERVER,),
)  # fmt: skip
REMOTE_LIMIT = Metric(
    "moderation.remote.calls.limit", "gauge", "{call}",
    "Calls of a server that may be under way: fewer for a while after it has said that it has too many.", "guard",
    (SERVER,),
)  # fmt: skip
REMOTE_STATE = Metric(
    "moderation.remote.state", "gauge", "{server}", "1 for the state that a server is in, 0 for the others.", "guard",
    (SERVER, Attribute("moderation.remote.state", REMOTE_STATES)),
)  # fmt: skip
REMOTE_FAULTS = Metric(
    "moderation.remote.faults", "counter", "{call}", "Calls of a server without an answer to use, by what was wrong.",
    "guard", (SERVER, Attribute(ERROR, get_args(Fault))),
)  # fmt: skip
REMOTE_HEDGES = Metric(
    "moderation.remote.hedges", "counter", "{call}",
    "Calls made a second time, on another server, because the first was slow; see guard.remote.hedge_share.", "guard",
)  # fmt: skip
MODEL_LOAD = Metric("moderation.model.load.duration", "gauge", "s", "Time that loading the model took.", "guard")

# -- the HTTP server's

ASK_ROUTES: Final = (
    "/v1/moderations", "/v1/chat/moderations", "/v1/chat/completions", "/beta/litellm_basic_guardrail_api",
    "/webhook/portkey", "/v1alpha1/comments:analyze", "/v1/rewards", "/get_reward", "/rm", "/classify", "/verify",
    "/v1/stream", "/v1/stream/{conversation_id}",
)  # fmt: skip
ASK_REFUSALS: Final = (
    "invalid_json", "invalid_request", "unauthorized", "forbidden", "slow_body", "body_too_large", "unjudgeable",
    "not_assessed", "rate_limited", "internal", "unavailable", "overloaded", "draining", "not_found", "gap",
    "unknown_turn", "seq_conflict", "offset_conflict", "role_conflict", "delta_after_final",
)  # fmt: skip
ASK_ENDS: Final = ("forgotten", *get_args(TurnEnd))
ASK_DURATION = Metric(
    "moderation.ask.duration", "histogram", "s",
    "Time from a request over HTTP to its answer, or to its refusal (`error.type`).", "ask",
    (Attribute("http.route", ASK_ROUTES), Attribute(ERROR, ASK_REFUSALS, on_failure=True)), _SHORT_SECONDS,
)  # fmt: skip
ASK_ITEMS = Metric(
    "moderation.ask.items", "counter", "{item}",
    "Items of requests that were answered or refused for one of them: with a verdict, with nothing to judge, or without"
    " a verdict.", "ask", (Attribute("moderation.ask.result", ("verdict", "skipped", "failed")),),
)  # fmt: skip
ASK_TOKENS = Metric(
    "moderation.ask.under_way.tokens", "updowncounter", "{token}",
    "Estimated tokens of requests that wait for the guard.", "ask",
)  # fmt: skip

ASK_TURNS = Metric(
    "moderation.ask.turns", "updowncounter", "{turn}",
    "Turns that are known at the doors for answers that are being written.", "ask",
)  # fmt: skip
ASK_TURN_ENDS = Metric(
    "moderation.ask.turns.ended", "counter", "{turn}",
    "Turns that are known no more at these doors, by how they ended: as their writers said (final), forgotten before"
    " that, or marked.", "ask", (Attribute("moderation.turn.end", ASK_ENDS),),
)  # fmt: skip
ASK_SOCKETS = Metric(
    "moderation.ask.sockets", "updowncounter", "{connection}", "WebSocket connections that are open.", "ask",
)  # fmt: skip
ASK_TURN_TOKENS = Metric(
    "moderation.ask.turns.under_way.tokens", "updowncounter", "{token}",
    "Estimated tokens of frames that wait for the stream guard.", "ask",
)  # fmt: skip

# -- the delta worker's

TURNS_OPEN = Metric("moderation.turn.open", "updowncounter", "{turn}", "Turns that are being written.", "deltas")
TURN_CHARACTERS = Metric(
    "moderation.turn.characters", "updowncounter", "{character}", "Characters that are kept of them.", "deltas"
)
TURN_FRAMES = Metric(
    "moderation.turn.frames", "counter", "{frame}",
    "Deltas by what became of them; refused ones are dead letters, skipped ones have no value.", "deltas",
    (Attribute("moderation.frame.result", FRAME_RESULTS),),
)  # fmt: skip
TURNS_RAISED = Metric(
    "moderation.turn.raised", "counter", "{turn}",
    "Texts that were raised, by whose they are; once more where one then calls for a stricter action.", "deltas",
    (Attribute("moderation.turn.role", get_args(TurnRole)),),
)  # fmt: skip
TURNS_ENDED = Metric(
    "moderation.turn.ended", "counter", "{turn}", "Turns that have ended, by why.", "deltas",
    (Attribute("moderation.turn.end", get_args(TurnEnd)),),
)  # fmt: skip
TURN_REPLAYS = Metric(
    "moderation.turn.replays", "counter", "{turn}", "Times that the guard was given all of a turn again.", "deltas"
)
TURN_CALLS = Metric(
    "moderation.turn.calls", "counter", "{call}", "Calls of the stream guard, by what became of them.", "deltas",
    (Attribute(ERROR, GUARD_FAILURES, on_failure=True),),
)  # fmt: skip

# -- the stream guard replica's

SESSIONS = Metric(
    "moderation.session.open", "updowncounter", "{session}", "Turns that a replica has a session of.", "stream_guard"
)
SESSION_PAGES = Metric(
    "moderation.session.pages", "updowncounter", "{page}", "Pages of 16 tokens that they hold.", "stream_guard"
)
SESSION_PAGES_LIMIT = Metric(
    "moderation.session.pages.limit", "gauge", "{page}", "Pages that they may hold.", "stream_guard"
)
SESSION_QUEUE = Metric(
    "moderation.session.queue", "updowncounter", "{push}", "Deltas that wait for their verdicts.", "stream_guard"
)
SESSION_EVENTS = Metric(
    "moderation.session.events", "counter", "{session}",
    "Sessions opened; not known any more, which costs a replay; closed or rid of their pages to make room for others.",
    "stream_guard", (Attribute("moderation.session.event", SESSION_EVENTS_SEEN),),
)  # fmt: skip
PUSH_DURATION = Metric(
    "moderation.session.push.duration", "histogram", "s",
    "Time from a delta's arrival in the replica to its verdicts; what its turn was not judged for is a failure.",
    "stream_guard", (Attribute(ERROR, (*get_args(TurnEnd)[1:], "session_unknown"), on_failure=True),), _SHORT_SECONDS,
)  # fmt: skip

# -- of all

MEMORY = Metric(
    "process.memory.usage", "updowncounter", "By", "Physical memory of the process.", "all", conventional=True
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
