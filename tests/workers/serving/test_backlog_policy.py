"""The policy as Serve's controller calls it: real contexts, Serve's own bounds and delays around it, no cluster."""

# ruff: noqa: SLF001 - Ray has no public view of a built application

from typing import Any

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve._private.config import AutoscalingConfig
from ray.serve.autoscaling_policy import _apply_app_level_autoscaling_config
from ray.serve.config import AutoscalingContext, AutoscalingPolicy

from schemas.errors import ConfigurationError
from workers.guard.names import ASK, GUARD, SHADOW, STREAM
from workers.serving.app import build_app
from workers.serving.backlog_policy import BacklogPolicy, Stats, all_replicas, demand_of, newest, no_opinion, with_asks
from workers.serving.serve_config import POLICY, serve_config
from workers.settings.loading import load_settings

NOW = 1_000.0
QUICK = {"replica_rate": 100.0, "startup_s": 20.0}


def context(name: str, target: int, reports: list[Stats], running: int | None = None, **config: Any) -> Any:
    """What Serve hands to a policy for a deployment, with a report of each running replica."""
    deployment = DeploymentID(name, "weir")
    replicas = [ReplicaID(f"r{number}", deployment) for number in range(target if running is None else running)]
    raw: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
    for replica, report in zip(replicas, reports, strict=False):
        for figure, value in report.items():
            raw.setdefault(figure, {})[replica] = [TimeStampedValue(NOW - 1, 0.0), TimeStampedValue(NOW, value)]
    return AutoscalingContext(
        deployment_id=deployment,
        deployment_name=name,
        app_name="weir",
        current_num_replicas=len(replicas),
        target_num_replicas=target,
        running_replicas=replicas,
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=raw,
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=40,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=NOW,
        config=AutoscalingConfig(min_replicas=0, max_replicas=40, upscale_delay_s=0, **config),
    )


def report(backlog: float, arrivals: float | None, owned: int = 4, of: int = 4, age: float | None = 1.0) -> Stats:
    figures = {
        "backlog": backlog,
        "arrival_rate": arrivals,
        "oldest_age_s": age,
        "partitions": float(owned),
        "all_partitions": float(of),
    }
    return {name: value for name, value in figures.items() if value is not None}


def asked(guard: Any, stream: Any, **settings: Any) -> dict[str, int]:
    """What the policy answers, by the deployment's name."""
    policy = BacklogPolicy(clock=lambda: NOW, **{**QUICK, **settings})
    answer, state = policy({context.deployment_id: context for context in (guard, stream)})
    assert state == {}
    return {deployment.name: count for deployment, count in answer.items()}


@pytest.mark.parametrize("reports", [[], [report(100, 500.0)]])
def test_the_candidate_of_the_shadow_lane_has_all_its_replicas_whatever_live_needs(reports: list[Stats]) -> None:
    contexts = [context(GUARD, 1, [{}]), context(STREAM, 1, reports), context(SHADOW, 0, [])]
    policy = BacklogPolicy(clock=lambda: NOW, **QUICK)
    answer, _ = policy({context.deployment_id: context for context in contexts})

    assert {deployment.name: count for deployment, count in answer.items()}[SHADOW] == 40
    assert all_replicas(contexts[2]) == (40, {})


def test_what_the_consumers_say_drives_the_guard_and_the_consumers_follow() -> None:
    stream = context(STREAM, 2, [report(100, 500.0, 2), report(100, 500.0, 2)])

    assert asked(context(GUARD, 1, [{}]), stream) == {GUARD: 10, STREAM: 2}
    assert asked(context(GUARD, 1, [{}]), stream, replicas_per_consumer=3) == {GUARD: 10, STREAM: 4}
    assert asked(context(GUARD, 1, [{}]), stream, replicas_per_consumer=1) == {GUARD: 10, STREAM: 4}  # partitions


def test_the_newest_figure_counts_not_their_mean() -> None:
    assert newest(context(STREAM, 1, [report(7, 3.0)]).raw_metrics, context(STREAM, 1, []).running_replicas) == [
        report(7, 3.0)
    ]


@pytest.mark.parametrize(
    "reports",
    [[], [{}], [report(0, None)], [report(0, 0.0, owned=0)], [report(10, 0.0, owned=3)]],
    ids=["no consumer", "no figures", "no rate yet", "no partition yet", "a partition that nobody owns"],
)
def test_missing_figures_leave_both_deployments_out_of_the_answer(reports: list[Stats]) -> None:
    assert asked(context(GUARD, 5, [{}] * 5), context(STREAM, len(reports), reports)) == {}


def test_a_part_of_the_partitions_can_still_ask_for_more() -> None:
    stream = context(STREAM, 2, [report(100, 900.0, owned=3), {}])

    assert asked(context(GUARD, 5, [{}] * 5), stream)[GUARD] == 9


def test_ages_that_nobody_knows_are_left_out() -> None:
    known = demand_of([report(1, 1.0, 2, age=None), report(1, 1.0, 2, age=9.0)])
    assert known is not None
    assert known.oldest_age_s == 9.0
    unknown = demand_of([report(1, 1.0, age=None)])
    assert unknown is not None
    assert unknown.oldest_age_s is None


def test_serve_applies_bounds_and_delays_to_the_answer() -> None:
    """Serve's own wrapper, as the controller uses it."""
    wrapped = _apply_app_level_autoscaling_config(BacklogPolicy(clock=lambda: NOW, **QUICK))
    guard = context(GUARD, 5, [{}] * 5, downscale_delay_s=60)
    stream = context(STREAM, 1, [report(0, 0.0)], downscale_delay_s=60)
    contexts = {context.deployment_id: context for context in (guard, stream)}

    decided, state = wrapped(contexts)

    assert {deployment.name: count for deployment, count in decided.items()} == {GUARD: 5, STREAM: 1}
    assert state[guard.deployment_id] != {}  # since when fewer are wanted
    no_figures, _ = wrapped({guard.deployment_id: guard, stream.deployment_id: context(STREAM, 1, [{}])})
    assert no_figures == {}


def test_serve_makes_one_policy_of_the_class_with_its_arguments() -> None:
    chosen = load_settings(autoscaling={"enabled": True, "target_seconds_behind": 33})
    application = serve_config(chosen).applications[0]
    assert application.autoscaling_policy is not None
    policy = AutoscalingPolicy(**application.autoscaling_policy)

    assert application.autoscaling_policy["policy_function"] == POLICY
    made = policy.get_policy()(**policy.policy_kwargs)
    assert made._settings == chosen.autoscaling  # unpickled as the controller does


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"target_second_behind": 3}, r"autoscaling\.target_second_behind: Extra"),
        ({"target_seconds_behind": 0}, r"autoscaling\.target_seconds_behind: Input should be greater than 0"),
        ({"min_replicas": -1}, r"autoscaling\.min_replicas: Input"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        BacklogPolicy(**wrong)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"autoscaling": {"min_replicas": 9}}, "autoscaling.min_replicas=9 is above autoscaling.max_replicas=8"),
        (
            {"autoscaling": {"enabled": True}, "guard": {"replicas": 9}},
            "guard.replicas=9 is above autoscaling.max_replicas=8",
        ),
        (
            {"autoscaling": {"enabled": True}, "serve": {"consumers": 9}},
            "serve.consumers=9 is above autoscaling.max_consumers=8",
        ),
        (
            {"autoscaling": {"enabled": True, "interval_s": 7}},
            "autoscaling.interval_s=7.0 is more than a tenth of autoscaling.target_seconds_behind=60.0",
        ),
    ],
)
def test_contradictory_settings_are_refused_with_both_names(sections: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**sections)
    assert named in str(refused.value)


def test_the_deployments_have_the_bounds_and_a_policy_that_does_nothing_without_the_application_s() -> None:
    stream = build_app(
        {
            "guard": {"replicas": 2},
            "serve": {"consumers": 2},
            "autoscaling": {"enabled": True, "min_replicas": 0, "max_replicas": 6, "max_consumers": 3},
        }
    )._bound_deployment
    guard = stream.init_args[1]._bound_deployment
    bounds = [
        (made.min_replicas, made.initial_replicas, made.max_replicas, made.downscale_to_zero_delay_s)
        for made in (deployment._deployment_config.autoscaling_config for deployment in (guard, stream))
    ]

    assert bounds == [(0, 2, 6, 600.0), (2, 2, 3, 600.0)]
    for deployment in (guard, stream):
        policy = deployment._deployment_config.autoscaling_config.policy
        assert policy.get_policy()(context(GUARD, 5, [])) == no_opinion(context(GUARD, 5, [])) == (5, {})


def test_secrets_are_not_among_the_arguments_that_serve_logs() -> None:
    secret = "correct horse"
    kafka = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "a", "sasl_password": secret}
    config = serve_config(load_settings(kafka={**kafka, "ssl_password": secret}, guard={"replicas": 3}))

    assert secret not in config.model_dump_json()
    assert config.applications[0].args == {
        "kafka": {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "a"},
        "guard": {"replicas": 3},
    }


def test_what_is_asked_over_http_wants_replicas_as_records_do() -> None:
    guard, stream = context(GUARD, 2, [{"busy": 0.9}] * 2), context(STREAM, 1, [report(0, 150.0)])
    ask = context(ASK, 1, [{"backlog": 400.0, "arrival_rate": 350.0, "completion_rate": 50.0}])
    policy = BacklogPolicy(clock=lambda: NOW, **QUICK)

    def wanted(*contexts: Any) -> dict[str, int]:
        answer, _ = policy({context.deployment_id: context for context in contexts})
        return {deployment.name: count for deployment, count in answer.items()}

    assert wanted(guard, stream)[GUARD] == 2
    assert wanted(guard, stream, ask)[GUARD] >= 5
    assert ASK not in wanted(guard, stream, ask)
    assert wanted(guard, stream, context(ASK, 1, [{}]))[GUARD] == 2

    demand = demand_of([report(10, 150.0)])
    assert demand is not None
    both = with_asks(demand, [{"backlog": 4.0, "arrival_rate": 30.0, "completion_rate": 20.0}])
    assert both is not None
    assert (both.backlog, both.arrival_rate, both.completion_rate) == (14.0, 180.0, 20.0)
    assert with_asks(None, [{"backlog": 4.0, "arrival_rate": 30.0, "completion_rate": 20.0}]) is None


def test_serve_asks_the_http_server_for_its_figures_where_replicas_follow_demand() -> None:
    def ask_of(**autoscaling: Any) -> Any:
        application = build_app({"ask": {"enabled": True}, "autoscaling": autoscaling})
        return application._bound_deployment.init_kwargs["ask"]._bound_deployment._deployment_config

    scaled, fixed = ask_of(enabled=True).autoscaling_config, ask_of(enabled=False)
    assert (scaled.min_replicas, scaled.max_replicas) == (1, 1)
    assert (fixed.num_replicas, fixed.autoscaling_config) == (1, None)
