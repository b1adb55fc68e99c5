"""When the breaker opens: each rule with its default and a sentence. Decision 0009 explains the figures.

Counts nothing; `pipelines.breaker.breaker` does.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

DriftAction = Literal["trip", "warn", "off"]
Positive = Annotated[int, Field(gt=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(gt=0, le=1)]


class BreakerRules(BaseModel):
    """When a worker stops releasing outcomes; also the settings' section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(True, description="whether the breaker can open at all")
    window_records: Positive = Field(10_000, description="ratios are taken over this many last records")
    window_s: PositiveSeconds = Field(3_600.0, description="... and over this long at most")
    failure_ratio: Ratio = Field(0.2, description="open at this share of dead letters that can be our own doing")
    failure_min_records: Positive = Field(2_000, description="... once this many records have been judged")
    consecutive_failures: Positive = Field(
        500, description="open at this many such dead letters without a verdict between them"
    )
    input_error_ratio: Ratio = Field(0.8, description="open at this share of records that break the contract")
    input_error_min_records: Positive = Field(5_000, description="... once this many have been taken in")
    consecutive_input_errors: Positive = Field(5_000, description="open at this many of them in a row")
    drift_action: DriftAction = Field(
        "trip",
        description="when the mix of severities has moved: open if model, prompt or policy have changed within window_s"
        " and else warn; only warn; or do not look",
    )
    drift_distance: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of verdicts that changed their label, beyond chance, that counts as moved"
    )
    drift_window_records: Positive = Field(
        5_000, description="recent verdicts that are compared with the baseline, at least"
    )
    drift_window_s: PositiveSeconds = Field(30.0, description="... and from this long at least")
    drift_baseline_records: Positive = Field(20_000, description="verdicts that a baseline needs")
    drift_baseline_half_life_s: PositiveSeconds = Field(
        86_400.0, description="after this long a verdict counts half in the baseline"
    )
