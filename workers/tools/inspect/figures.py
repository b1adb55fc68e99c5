"""The figures of `weir top`: turns what a metrics endpoint says into what an operator wants to know, and into text.

Does not ask the endpoint.
"""

from collections.abc import Mapping
from typing import Any

from workers.telemetry.metrics import table
from workers.telemetry.metrics.definition import Metric
from workers.tools.inspect.scrapes import Scrapes, quantile

Figures = dict[str, Any]
MOST_NAMED = 5
MIB = 2**20
WIDTH = 100


def figures_of(scrapes: Scrapes) -> Figures:
    """All figures; None for what is unknown, as rates are until two exports have come."""
    backlog = _total(scrapes, table.BACKLOG)
    completed = scrapes.rate(table.COMPLETED.prometheus_name)
    ages = scrapes.by_process(table.OLDEST_AGE)
    drift = scrapes.by_process(table.DRIFT)
    causes = scrapes.by_label(table.BREAKER_CAUSES.prometheus_name, "moderation_breaker_cause")
    calls = scrapes.by_label(table.GUARD_CALLS.prometheus_name, "error_type", rate=True)
    return {
        "consumers": len(scrapes.by_process(table.COMPLETED)),
        "guard_replicas": len(scrapes.by_process(table.MODEL_LOAD)),
        "backlog": backlog,
        "oldest_age_s": max(ages, default=None),
        "consumed_per_s": scrapes.rate(table.CONSUMED.prometheus_name),
        "completed_per_s": completed,
        "drains_in_s": backlog / completed if backlog is not None and completed else None,
        "in_flight": {
            "records": _total(scrapes, table.IN_FLIGHT_RECORDS),
            "bytes": _total(scrapes, table.IN_FLIGHT_BYTES),
            "tokens": _total(scrapes, table.IN_FLIGHT_TOKENS),
            "paused": _total(scrapes, table.INTAKE_PAUSED),
        },
        "breaker": {
            "open": _total(scrapes, table.BREAKER_OPEN),
            "causes": sorted(cause for cause, count in causes.items() if count),
            "drift": max(drift, default=None),
        },
        "guard": {
            "answered_per_s": calls.pop("", None),
            "tried_again_per_s": calls,
            "publish_waits_per_s": scrapes.rate(table.PUBLISH_WAITS.prometheus_name),
        },
        "asks": _asks(scrapes),
        "batches": _batches(scrapes),
        "verdicts": _mix(scrapes),
        "dead_letters_per_s": scrapes.by_label(table.DEAD_LETTERS.prometheus_name, "error_type", rate=True),
        "group": {
            "partitions": _total(scrapes, table.PARTITIONS),
            "rebalances": _total(scrapes, table.REBALANCES),
            "commit_lag": _total(scrapes, table.COMMIT_LAG),
        },
        "memory_bytes": max(scrapes.by_process(table.MEMORY), default=None),
    }


def _total(scrapes: Scrapes, metric: Metric) -> float | None:
    return scrapes.total(metric.prometheus_name)


def _asks(scrapes: Scrapes) -> Figures:
    """Of the Ask lane; all unknown where nobody has asked."""
    name = table.ASK_DURATION.prometheus_name
    ends = scrapes.by_label(f"{name}_count", "error_type", rate=True)
    return {
        "answered_per_s": ends.pop("", None),
        "refused_per_s": ends,
        "p95_s": _quantile(scrapes, table.ASK_DURATION),
        "waiting": _total(scrapes, table.ASK_QUEUE_SIZE),
        "tokens": _total(scrapes, table.ASK_TOKENS),
    }


def _batches(scrapes: Scrapes) -> Figures:
    replicas = len(scrapes.by_process(table.MODEL_LOAD))
    count = scrapes.rate(f"{table.BATCH_SIZE.prometheus_name}_count")
    busy = scrapes.rate(f"{table.BATCH_DURATION.prometheus_name}_sum")
    tokens = scrapes.by_label(table.TOKENS.prometheus_name, "gen_ai_token_type", rate=True)
    hits, misses = (scrapes.rate(metric.prometheus_name) for metric in (table.CACHE_HITS, table.CACHE_MISSES))
    drafted, accepted = (scrapes.rate(metric.prometheus_name) for metric in (table.DRAFT_TOKENS, table.DRAFT_ACCEPTED))
    return {
        "per_s": count,
        "mean_size": _ratio(scrapes.rate(f"{table.BATCH_SIZE.prometheus_name}_sum"), count),
        "mean_tokens": _ratio(scrapes.rate(f"{table.BATCH_TOKENS.prometheus_name}_sum"), count),
        # A batch counts when it has ended, which may be more than the time since the last export.
        "busy": None if (share := _ratio(busy, replicas)) is None else min(1.0, share),
        "p95_s": _quantile(scrapes, table.BATCH_DURATION),
        "queue_p95_s": _quantile(scrapes, table.QUEUE_DURATION),
        "waiting": _total(scrapes, table.QUEUE_SIZE),
        "input_tokens_per_s": tokens.get("input"),
        "draft_accepted": _ratio(accepted, drafted),
        "cache_hits": None if hits is None or misses is None else _ratio(hits, hits + misses),
    }


def _mix(scrapes: Scrapes) -> Figures:
    """Shares since the last export but one; since the workers' start where nothing was judged meanwhile."""
    name = table.VERDICTS.prometheus_name
    is_recent = bool(scrapes.rate(name))
    severities = scrapes.by_label(name, "moderation_severity", rate=is_recent)
    actions = scrapes.by_label(name, "moderation_action", rate=is_recent)
    return {
        "per_s": scrapes.rate(name),
        "since": "last export" if is_recent else "start",
        "severities": _shares(severities),
        "actions": _shares(actions),
        "categories_per_s": scrapes.by_label(table.CATEGORIES.prometheus_name, "moderation_category", rate=True),
    }


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    whole = sum(counts.values())
    return {name: count / whole for name, count in counts.items()} if whole else {}


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None


def _quantile(scrapes: Scrapes, metric: Metric) -> float | None:
    return quantile(0.95, scrapes.by_label(f"{metric.prometheus_name}_bucket", "le", rate=True))


def text_of(figures: Figures) -> str:
    """Figures as lines of at most 100 characters, plain text."""
    flight, breaker, guard = figures["in_flight"], figures["breaker"], figures["guard"]
    asks, batches, verdicts, group = (figures[name] for name in ("asks", "batches", "verdicts", "group"))
    state = f"OPEN in {_count(breaker['open'])}: {', '.join(breaker['causes'])}" if breaker["open"] else "closed"
    refused = {name: rate for name, rate in asks["refused_per_s"].items() if rate}
    tried_again = {name: rate for name, rate in guard["tried_again_per_s"].items() if rate}
    letters = {name: rate for name, rate in figures["dead_letters_per_s"].items() if rate}
    letters_per_s = sum(letters.values()) if verdicts["per_s"] is not None else None
    lines = {
        "backlog": f"{_count(figures['backlog'])}, oldest {_seconds(figures['oldest_age_s'])},"
        f" drains in {_seconds(figures['drains_in_s'])}",
        "records": f"consumed {_rate(figures['consumed_per_s'])}, completed {_rate(figures['completed_per_s'])}",
        "in flight": f"{_count(flight['records'])} records, {_mib(flight['bytes'])}, {_count(flight['tokens'])} tokens,"
        f" intake paused in {_count(flight['paused'])} of {figures['consumers']}",
        "breaker": f"{state if breaker['open'] is not None else '-'}, drift {_share(breaker['drift'])}",
        "guard": f"answered {_rate(guard['answered_per_s'])}, tried again {_listed(tried_again, _rate) or 'none'},"
        f" publish waits {_rate(guard['publish_waits_per_s'])}",
        "asks": f"answered {_rate(asks['answered_per_s'])}, p95 {_seconds(asks['p95_s'])},"
        f" {_count(asks['waiting'])} prompts waiting, refused {_listed(refused, _rate) or 'none'}",
        "batches": f"{_rate(batches['per_s'])}, mean {_count(batches['mean_size'])} prompts,"
        f" {_count(batches['mean_tokens'])} tokens, busy {_share(batches['busy'])}",
        "waits": f"queue p95 {_seconds(batches['queue_p95_s'])}, batch p95 {_seconds(batches['p95_s'])},"
        f" {_count(batches['waiting'])} prompts waiting",
        "model": f"{_count(batches['input_tokens_per_s'])} tokens/s, draft accepted {_share(batches['draft_accepted'])}"
        f", cache hits {_share(batches['cache_hits'])}",
        "verdicts": f"{_rate(verdicts['per_s'])}; since the {verdicts['since']}:"
        f" {_listed(verdicts['severities'], _share)}",
        "actions": _listed(verdicts["actions"], _share) or "-",
        "categories": _listed({name: rate for name, rate in verdicts["categories_per_s"].items() if rate}, _rate)
        or "-",
        "letters": f"{_rate(letters_per_s)}" + (f": {_listed(letters, _rate)}" if letters else ""),
        "group": f"{_count(group['partitions'])} partitions, {_count(group['rebalances'])} rebalances,"
        f" commit lag {_count(group['commit_lag'])}",
        "memory": f"{_mib(figures['memory_bytes'])} in the largest process",
    }
    head = f"{figures['consumers']} consumers, {_count(figures['guard_replicas'])} guard replicas"
    return "\n".join([head, *(_fitted(f"{name:<11} {line}") for name, line in lines.items())])


def _fitted(line: str) -> str:
    """As many whole entries of a list as fit the width."""
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 5].rpartition(', ')[0]}, ..."


def _listed(values: Mapping[str, float], show: Any) -> str:
    most = sorted(values.items(), key=lambda item: -item[1])[:MOST_NAMED]
    return ", ".join(f"{name} {show(value)}" for name, value in most)


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _rate(value: float | None) -> str:
    if value is None:
        return "-/s"
    return f"{value:,.0f}/s" if value >= 10 or value == 0 else f"{value:.2g}/s"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value / MIB:,.1f} MiB"


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:,.0f} min"
