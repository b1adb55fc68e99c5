"""For operators: is it keeping up, is it healthy, and are the objectives kept? One page."""

from infra.dashboards.panels import RATE, Dashboard, Panel, Query
from infra.dashboards.promql import quantiles, rate, share, total
from workers.telemetry.metrics import table

BACKLOG = table.BACKLOG.prometheus_name
COMPLETED = table.COMPLETED.prometheus_name
AGE = table.OLDEST_AGE.prometheus_name
UNREADABLE = 'error_type=~"unparsable_output|output_cut_off"'
ARRIVED = f"({rate(table.COMPLETED)} + sum(deriv({BACKLOG}[{RATE}])))"

KEEPING_UP = (
    Panel("Backlog", "Records that are not completed, delivered or not.", (Query(total(table.BACKLOG), "backlog"),),
          kind="stat", width=4),
    Panel("Oldest record", "Age of the oldest unfinished record.", (Query(f"max({AGE})", "age"),), "s", "stat",
          limit=60, width=4),
    Panel("Time to drain", "Backlog at the rate of completions, if nothing more came.",
          (Query(f"sum({BACKLOG}) / ({rate(table.COMPLETED)} > 0)", "seconds"),), "s", "stat", limit=600, width=4),
    Panel("Completed", "Outcomes a second.", (Query(rate(table.COMPLETED), "a second"),), "reqps", "stat", width=4),
    Panel("Consumers", "Consumers that report.", (Query(f"count({COMPLETED})", "consumers"),), kind="stat", width=4),
    Panel("Open breakers", "Workers that hold everything back.", (Query(total(table.BREAKER_OPEN), "open"),),
          kind="stat", limit=1, width=4),
    Panel("Arrivals against completions", "What comes and what is done; apart, the backlog moves.",
          (Query(ARRIVED, "arrived"), Query(rate(table.COMPLETED), "completed")), "reqps"),
    Panel("Backlog by worker", "A worker that stands alone above the others is stuck or has hot partitions.",
          (Query(total(table.BACKLOG, by="instance"), "{{instance}}"),), stacked=True),
    Panel("Age of the oldest unfinished record", "Above a minute, messages are late.",
          (Query(f"max by (instance) ({AGE})", "{{instance}}"),), "s", limit=60),
    Panel("In flight", "Delivered and not completed.",
          (Query(total(table.IN_FLIGHT_RECORDS), "records"), Query(total(table.INTAKE_PAUSED), "paused workers"))),
    Panel("In flight, bytes and tokens", "What the limits are also on.",
          (Query(total(table.IN_FLIGHT_BYTES), "bytes"), Query(total(table.IN_FLIGHT_TOKENS), "tokens"))),
    Panel("Time of a chunk at the guard", "From the question to the answers, holds and retries included.",
          quantiles(table.PROCESS_DURATION, "chunk", 0.5, 0.95, 0.99), "s"),
)  # fmt: skip

HEALTHY = (
    Panel("Guard calls that are tried again", "By what failed them; half of all calls is an outage.",
          (Query(rate(table.GUARD_CALLS, by="error_type", where='error_type!=""'), "{{error_type}}"),), "reqps"),
    Panel("Outcomes that wait", "Publishing is held up by the broker or the group.",
          (Query(rate(table.PUBLISH_WAITS), "waits"),), "reqps", limit=0.2),
    Panel("Time of sends and commits", "What the broker takes to answer.",
          (*quantiles(table.OPERATION_DURATION, "send", 0.95, where='messaging_operation_name="send"'),
           *quantiles(table.OPERATION_DURATION, "commit", 0.95, where='messaging_operation_name="commit"')), "s"),
    Panel("Dead letters", "By reason.", (Query(rate(table.DEAD_LETTERS, by="error_type"), "{{error_type}}"),), "reqps",
          stacked=True),
    Panel("Rebalances", "Partitions that moved, in the last quarter of an hour.",
          (Query(f"sum by (moderation_rebalance_event) (increase({table.REBALANCES.prometheus_name}[15m]))",
                 "{{moderation_rebalance_event}}"),)),
    Panel("Partitions by worker", "An even share each.",
          (Query(total(table.PARTITIONS, by="instance"), "{{instance}}"),), stacked=True),
    Panel("Would be judged again", "Offsets past the committed one, by worker: what a restart costs.",
          (Query(total(table.COMMIT_LAG, by="instance"), "{{instance}}"),)),
    Panel("Unreadable partitions", "They wait for a batch that cannot be read, all others go on.",
          (Query(total(table.UNREADABLE, by="instance"), "{{instance}}"),), stacked=True),
    Panel("Memory", "Of each process.", (Query(f"max by (job, instance) ({table.MEMORY.prometheus_name})",
          "{{job}} {{instance}}"),), "bytes"),
    Panel("Sent", "Acknowledged records by topic.",
          (Query(rate(table.SENT, by="messaging_destination_name"), "{{messaging_destination_name}}"),), "reqps"),
)  # fmt: skip

ASKED = (
    Panel("Requests over HTTP", "A second, by what became of them; no error is an answer.",
          (Query(rate(table.ASK_DURATION, by="error_type"), "{{error_type}}"),), "reqps", stacked=True),
    Panel("Time of a request over HTTP", "Of those that were answered.",
          quantiles(table.ASK_DURATION, "request", 0.5, 0.95, 0.99, where='error_type=""'), "s"),
    Panel("Items over HTTP", "A second, by what became of them, and the tokens that wait.",
          (Query(rate(table.ASK_ITEMS, by="moderation_ask_result"), "{{moderation_ask_result}}"),
           Query(total(table.ASK_TOKENS), "tokens under way"))),
    Panel("Turns being written", "Known over HTTP and WebSocket, and the connections and tokens that wait.",
          (Query(total(table.ASK_TURNS), "turns"), Query(total(table.ASK_SOCKETS), "connections"),
           Query(total(table.ASK_TURN_TOKENS), "tokens under way"))),
    Panel("Ends of turns over HTTP", "A second; forgotten ones cost their senders the text once more.",
          (Query(rate(table.ASK_TURN_ENDS, by="moderation_turn_end"), "{{moderation_turn_end}}"),), "reqps",
          stacked=True),
)  # fmt: skip

STREAMED = (
    Panel("Turns that are being written", "And those whose session a replica has.",
          (Query(total(table.TURNS_OPEN), "open"), Query(total(table.SESSIONS), "with a session"))),
    Panel("Deltas", "A second, by what became of them.",
          (Query(rate(table.TURN_FRAMES, by="moderation_frame_result"), "{{moderation_frame_result}}"),), "reqps",
          stacked=True),
    Panel("Turns that end", "A second, by why, and those that were raised, by role.",
          (Query(rate(table.TURNS_ENDED, by="moderation_turn_end"), "{{moderation_turn_end}}"),
           Query(rate(table.TURNS_RAISED, by="moderation_turn_role"), "raised: {{moderation_turn_role}}")), "reqps"),
    Panel("Time that a delta takes", "In the stream guard's replica; where there is no error.",
          quantiles(table.PUSH_DURATION, "delta", 0.5, 0.95, 0.99, where='error_type=""'), "s"),
    Panel("Pages of keys and values", "Of all replicas, and what they may hold.",
          (Query(total(table.SESSION_PAGES), "held"), Query(total(table.SESSION_PAGES_LIMIT), "limit"))),
    Panel("What replays come from", "A second: sessions by event, turns that were given again, failed calls.",
          (Query(rate(table.SESSION_EVENTS, by="moderation_session_event"), "{{moderation_session_event}}"),
           Query(rate(table.TURN_REPLAYS), "replays"),
           Query(rate(table.TURN_CALLS, by="error_type", where='error_type!=""'), "calls: {{error_type}}")), "reqps"),
    Panel("Deltas that wait", "In the replicas, and the characters that the delta workers keep.",
          (Query(total(table.SESSION_QUEUE), "deltas"), Query(total(table.TURN_CHARACTERS), "characters"))),
)  # fmt: skip

OBJECTIVES = (
    Panel("Freshness, error budget burnt in an hour", "Share of minutes in which a record was older than 60 s.",
          (Query(f"avg_over_time((max({AGE}) > bool 60)[1h:1m])", "late minutes"),), "percentunit", limit=0.144),
    Panel("Completeness, error budget burnt in an hour", "Share of an hour's arrivals without an outcome.",
          (Query(f"clamp_min(sum({BACKLOG}) - sum({BACKLOG} offset 1h), 0) / (sum(increase({COMPLETED}[1h]))"
                 f" + clamp_min(sum({BACKLOG}) - sum({BACKLOG} offset 1h), 0) > 0)", "without an outcome"),),
          "percentunit", limit=0.0144),
    Panel("Correctness, error budget burnt in an hour", "Share of answers that could not be read.",
          (Query(share(f"sum(increase({table.DEAD_LETTERS.prometheus_name}{{{UNREADABLE}}}[1h]))",
                       f"sum(increase({table.VERDICTS.prometheus_name}[1h]))"), "unreadable"),),
          "percentunit", limit=0.0144),
)  # fmt: skip

OPERATORS = Dashboard(
    "weir-operators",
    "Weir: operators",
    "Is it keeping up, is it healthy?",
    {
        "Is it keeping up?": KEEPING_UP,
        "Is it healthy?": HEALTHY,
        "Asked over HTTP": ASKED,
        "Judged while written": STREAMED,
        "Objectives": OBJECTIVES,
    },
)
