"""For trust and safety: what is being said, has the mix moved, what has no verdict, and whose is it? One page."""

from infra.dashboards.panels import Dashboard, Panel, Query
from infra.dashboards.promql import rate, share, total
from workers.telemetry.metrics import table

DRIFT = table.DRIFT.prometheus_name
LISTED = 'moderation_tenant!=""'
BY_TENANT = rate(table.CATEGORIES, by="moderation_tenant, moderation_category", where=LISTED)
UNREADABLE = 'error_type=~"unparsable_output|output_cut_off"'

SAID = (
    Panel("Verdicts", "A second.", (Query(rate(table.VERDICTS), "verdicts"),), "reqps", "stat", width=6),
    Panel("Unsafe", "Share of the verdicts.",
          (Query(share(rate(table.VERDICTS, where='moderation_severity="Unsafe"'), rate(table.VERDICTS)), "unsafe"),),
          "percentunit", "stat", width=6),
    Panel("Blocked", "Share of the verdicts.",
          (Query(share(rate(table.VERDICTS, where='moderation_action="block"'), rate(table.VERDICTS)), "blocked"),),
          "percentunit", "stat", width=6),
    Panel("For review", "A second, for people.",
          (Query(rate(table.VERDICTS, where='moderation_action="review"'), "review"),), "reqps", "stat", width=6),
    Panel("Severities", "The mix.", (Query(rate(table.VERDICTS, by="moderation_severity"), "{{moderation_severity}}"),),
          "percentunit", stacked=True),
    Panel("Actions", "What the policy made of it.",
          (Query(rate(table.VERDICTS, by="moderation_action"), "{{moderation_action}}"),), "percentunit", stacked=True),
    Panel("Categories", "Named by verdicts, a second; a verdict may name several.",
          (Query(rate(table.CATEGORIES, by="moderation_category"), "{{moderation_category}}"),), "reqps"),
)  # fmt: skip

MOVED = (
    Panel("Drift", "Share of verdicts that would have to change for the mix to be the baseline's; the breaker's default"
          " limit as a line.", (Query(f"max({DRIFT})", "largest of the workers"), Query(f"min({DRIFT})", "smallest")),
          "percentunit", limit=0.1),
    Panel("Open breakers", "By what opened them.",
          (Query(total(table.BREAKER_CAUSES, by="moderation_breaker_cause"), "{{moderation_breaker_cause}}"),)),
    Panel("Unreadable answers", "Share of the model's answers; dead letters, never verdicts.",
          (Query(share(rate(table.DEAD_LETTERS, where=UNREADABLE), rate(table.VERDICTS)), "unreadable"),),
          "percentunit", limit=0.001),
)  # fmt: skip

WITHOUT = (
    Panel("Dead letters by reason", "Messages without a verdict.",
          (Query(rate(table.DEAD_LETTERS, by="error_type"), "{{error_type}}"),), "reqps", stacked=True, width=12),
    Panel("Dead letters by stage", "decode, validate: the sender's doing; infer, parse, publish: ours.",
          (Query(rate(table.DEAD_LETTERS, by="moderation_stage"), "{{moderation_stage}}"),), "reqps", stacked=True,
          width=12),
    Panel("Nothing to judge", "Null values and messages without a text: skipped.",
          (Query(rate(table.SKIPPED, by="moderation_reason"), "{{moderation_reason}}"),), "reqps", stacked=True,
          width=12),
    Panel("Removed before they were judged", "Records that their topic's retention took first.",
          (Query(rate(table.REMOVED), "removed"),), "reqps", width=12),
    Panel("Repaired, dropped, not assessed", "What of judged events was; `handling` of each verdict.",
          (Query(rate(table.HANDLED, by="moderation_handled"), "{{moderation_handled}}"),), "reqps", stacked=True,
          width=12),
)  # fmt: skip

TENANTS = (
    Panel("Verdicts by tenant", "Tenants that `telemetry.tenants` lists; nothing here without any.",
          (Query(rate(table.VERDICTS, by="moderation_tenant", where=LISTED), "{{moderation_tenant}}"),),
          "reqps", stacked=True),
    Panel("Unsafe by tenant", "Share of the tenant's verdicts.",
          (Query(share(rate(table.VERDICTS, by="moderation_tenant", where=f'{LISTED}, moderation_severity="Unsafe"'),
                       rate(table.VERDICTS, by="moderation_tenant", where=LISTED)), "{{moderation_tenant}}"),),
          "percentunit"),
    Panel("Categories by tenant", "The five that are named most.",
          (Query(f"topk(5, {BY_TENANT})", "{{moderation_tenant}}: {{moderation_category}}"),), "reqps"),
)  # fmt: skip

SHADOW = (
    Panel("Shadow lane", "Records of its sample: compared, or left out. Nothing here is enforced.",
          (Query(rate(table.SHADOW_RECORDS, by="moderation_shadow_result"), "{{moderation_shadow_result}}"),), "reqps",
          stacked=True, width=6),
    Panel("Candidate agrees", "Share of the compared records that the candidate would have treated alike.",
          (Query(share(rate(table.SHADOW_RECORDS, where='moderation_shadow_result="agreed"'),
                       rate(table.SHADOW_RECORDS, where='moderation_shadow_result=~"agreed|disagreed"')), "agreed"),),
          "percentunit", width=6),
    Panel("Candidate beside live", "What live said, and what the candidate said.",
          (Query(rate(table.SHADOW_PAIRS, by="moderation_shadow_live, moderation_shadow_candidate"),
                 "{{moderation_shadow_live}}: {{moderation_shadow_candidate}}"),), "reqps", width=6),
    Panel("What differs", "In the candidate's outcomes, and what could not be written.",
          (Query(rate(table.SHADOW_DIFFERENCES, by="moderation_shadow_difference"), "{{moderation_shadow_difference}}"),
           Query(rate(table.SHADOW_UNPUBLISHED), "not written")), "reqps", width=6),
)  # fmt: skip

TRUST_AND_SAFETY = Dashboard(
    "weir-trust-and-safety",
    "Weir: trust and safety",
    "What is being said, and can the verdicts be relied on?",
    {
        "What is being said?": SAID,
        "Has it moved?": MOVED,
        "What has no verdict?": WITHOUT,
        "Tenants": TENANTS,
        "Candidate": SHADOW,
    },
)
