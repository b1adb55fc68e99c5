"""For whoever pays for the GPUs: are they busy, are batches full, and what does a token cost? One page."""

from infra.dashboards.panels import RATE, Dashboard, Panel, Query
from infra.dashboards.promql import mean, quantiles, rate, share, total
from workers.telemetry.metrics import table

IN_BATCHES = f"sum by (instance) (rate({table.BATCH_DURATION.prometheus_name}_sum[{RATE}]))"
PROMPTS = f"sum(rate({table.BATCH_SIZE.prometheus_name}_sum[{RATE}]))"

BUSY = (
    Panel("Replicas", "Guard replicas that report.", (Query(f"count({table.MODEL_LOAD.prometheus_name})", "replicas"),),
          kind="stat", width=6),
    Panel("Prompts", "A second through the model.", (Query(PROMPTS, "prompts"),), "reqps", "stat", width=6),
    Panel("Tokens", "Read a second.",
          (Query(rate(table.TOKENS, where='gen_ai_token_type="input"'), "tokens"),), "short", "stat", width=6),
    Panel("Waiting", "Prompts that wait for the model.", (Query(total(table.QUEUE_SIZE), "prompts"),), kind="stat",
          width=6),
    Panel("Time in batches",
          "Share of its time that each replica's model runs; 1 is all of it. A long batch counts when it ends.",
          (Query(IN_BATCHES, "{{instance}}"),), "percentunit"),
    Panel("Tokens a second", "Read and written by the model.",
          (Query(rate(table.TOKENS, by="gen_ai_token_type"), "{{gen_ai_token_type}}"),), "short"),
    Panel("Queue against GPU", "Where the time of a message goes: waiting for its batch, or in it.",
          (*quantiles(table.QUEUE_DURATION, "queue", 0.5, 0.95), *quantiles(table.BATCH_DURATION, "batch", 0.5, 0.95)),
          "s"),
    Panel("Background", "Prompts a second that the model judged while live ones left it room, and calls refused.",
          (Query(rate(table.BACKGROUND_PROMPTS), "prompts"), Query(rate(table.BACKGROUND_REFUSED), "refused calls")),
          "reqps", width=12),
    Panel("Background waiting", "Prompts that wait until no live one does.",
          (Query(total(table.BACKGROUND_QUEUE_SIZE, by="instance"), "{{instance}}"),), width=12),
    Panel("Asks waiting", "Prompts that came over HTTP and wait for their batch.",
          (Query(total(table.ASK_QUEUE_SIZE, by="instance"), "{{instance}}"),), width=12),
)  # fmt: skip

BATCHES = (
    Panel("Batch size", "Prompts of a batch.",
          (*quantiles(table.BATCH_SIZE, "prompts", 0.5, 0.95), Query(mean(table.BATCH_SIZE), "mean")), "none"),
    Panel("Batch tokens", "Prompt tokens of a batch.",
          (*quantiles(table.BATCH_TOKENS, "tokens", 0.5, 0.95), Query(mean(table.BATCH_TOKENS), "mean")), "none"),
    Panel("Batches", "A second, and those that raised.",
          (Query(rate(table.BATCH_DURATION), "batches"),
           Query(rate(table.BATCH_DURATION, where='error_type!=""'), "raised")), "reqps"),
)  # fmt: skip

SAVED = (
    Panel("Draft accepted", "Share of the drafted verdict tokens that the model itself chose; each one saves a pass.",
          (Query(share(rate(table.DRAFT_ACCEPTED), rate(table.DRAFT_TOKENS)), "accepted"),), "percentunit"),
    Panel("Cache hits", "Share of the prompts that were equal to one before.",
          (Query(share(rate(table.CACHE_HITS), f"({rate(table.CACHE_HITS)} + {rate(table.CACHE_MISSES)})"), "hits"),),
          "percentunit"),
    Panel("Cache size", "Judgements kept, by replica.",
          (Query(total(table.CACHE_SIZE, by="instance"), "{{instance}}"),)),
    Panel("Model load", "Time that loading took, by replica.",
          (Query(total(table.MODEL_LOAD, by="instance"), "{{instance}}"),), "s", width=12),
    Panel("Memory", "Of each guard process, on the host.",
          (Query(f'max by (instance) ({table.MEMORY.prometheus_name}{{job=~".*guard.*"}})', "{{instance}}"),), "bytes",
          width=12),
)  # fmt: skip

REMOTE = table.REMOTE_STATE.prometheus_name
SERVERS = (
    Panel("Servers by state", "Of a remote engine: a refused one is not what it should be; see its replica's log.",
          (Query(f"sum by (moderation_remote_state) ({REMOTE})", "{{moderation_remote_state}}"),), stacked=True),
    Panel("Calls under way", "By server, and how many may be: fewer after it has said that it has too many.",
          (Query(total(table.REMOTE_CALLS, by="server_address"), "{{server_address}}"),
           Query(f"sum by (server_address) ({table.REMOTE_LIMIT.prometheus_name})", "limit {{server_address}}"))),
    Panel("Calls without an answer", "A second, by what was wrong; and those made a second time, as they were slow.",
          (Query(rate(table.REMOTE_FAULTS, by="error_type"), "{{error_type}}"),
           Query(rate(table.REMOTE_HEDGES), "made a second time")), "reqps"),
)  # fmt: skip

GPU = Dashboard(
    "weir-gpu",
    "Weir: GPU",
    "Are the GPUs busy, are their batches full?",
    {"Is it busy?": BUSY, "Are batches full?": BATCHES, "What is saved?": SAVED, "Are its servers there?": SERVERS},
)
