"""The application builder: arguments win, wrong ones are refused before anything starts."""

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from workers.serving.app import ASK, DELTAS, GUARD, SHADOW, STREAM, STREAM_GUARD, ask_application_of, build_app
from workers.settings.loading import load_settings


def test_build_app_binds_consumers_to_guards_as_set() -> None:
    app = build_app(
        {
            "guard": {"model": "demo", "replicas": 3, "cpus_per_replica": 0.5, "gpus_per_replica": 1},
            "serve": {"consumers": 2},
            "delivery": {"drain_timeout_s": 7},
        }
    )
    stream = app._bound_deployment  # noqa: SLF001 - Ray has no public view of a built application
    settings, guard_app = stream.init_args
    guard = guard_app._bound_deployment  # noqa: SLF001

    assert (stream.name, stream.num_replicas) == (STREAM, 2)
    assert (guard.name, guard.num_replicas) == (GUARD, 3)
    assert guard.ray_actor_options["num_gpus"] == 1
    assert guard.ray_actor_options["num_cpus"] == 0.5
    assert settings.guard.model == "demo"
    assert guard.init_args == (settings,)
    assert guard._deployment_config.logging_config["enable_access_log"] is False  # noqa: SLF001


def test_a_candidate_with_a_model_has_replicas_of_its_own_that_the_application_does_not_wait_for() -> None:
    shadow = {"enabled": True, "model": "demo", "revision": "r2", "replicas": 2}
    stream = build_app({"shadow": shadow, "guard": {"gpus_per_replica": 1}})._bound_deployment  # noqa: SLF001
    settings, _, candidate_app = stream.init_args
    candidate = candidate_app._bound_deployment  # noqa: SLF001
    scaling = candidate._deployment_config.autoscaling_config  # noqa: SLF001

    assert candidate.name == SHADOW
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (0, 0, 2)
    assert candidate.ray_actor_options["num_gpus"] == 1
    assert candidate.init_args == (settings.candidate(),)
    assert (candidate.init_args[0].guard.model, candidate.init_args[0].guard.revision) == ("demo", "r2")


def test_turns_are_judged_over_http_by_replicas_that_the_door_on_kafka_shares() -> None:
    both = build_app({"ask": {"enabled": True, "stream": True}, "deltas": {"enabled": True}})
    kwargs = both._bound_deployment.init_kwargs  # noqa: SLF001
    bound = {name: app._bound_deployment for name, app in kwargs.items()}  # noqa: SLF001
    turns = bound["ask"].init_args[2]

    assert turns._bound_deployment.name == STREAM_GUARD  # noqa: SLF001
    assert turns in bound["deltas"].init_args
    alone = ask_application_of(load_settings(ask={"enabled": True, "stream": True}))
    assert alone._bound_deployment.init_args[2]._bound_deployment.name == STREAM_GUARD  # noqa: SLF001
    without = ask_application_of(load_settings(ask={"enabled": True}))
    assert len(without._bound_deployment.init_args) == 2  # noqa: SLF001


def test_no_gen_model_is_loaded_where_only_turns_are_wanted() -> None:
    off = {"enabled": False}
    asked = {"enabled": True, "stream": True}
    over_http = [
        ask_application_of(load_settings(guard=off, ask=asked)),
        build_app({"guard": off, "ask": asked}),
        build_app({"guard": off, "ask": asked, "deltas": {"enabled": True}})._bound_deployment.init_kwargs["ask"],  # noqa: SLF001
    ]
    for application in over_http:
        ask = application._bound_deployment  # noqa: SLF001
        assert (ask.name, ask.init_args[1]) == (ASK, None)
        assert ask.init_args[2]._bound_deployment.name == STREAM_GUARD  # noqa: SLF001
    on_kafka = build_app({"guard": off, "deltas": {"enabled": True}})._bound_deployment  # noqa: SLF001
    assert (on_kafka.name, on_kafka.init_args[1]._bound_deployment.name) == (DELTAS, STREAM_GUARD)  # noqa: SLF001
    assert on_kafka.init_kwargs == {}


@pytest.mark.parametrize("enabled", [True, False])
def test_a_candidate_that_is_a_policy_only_has_no_replicas(tmp_path: Path, enabled: bool) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("{name: a, version: '1'}")
    stream = build_app({"shadow": {"enabled": enabled, "policy_file": file}})._bound_deployment  # noqa: SLF001

    assert len(stream.init_args) == 2


def test_a_candidate_s_policy_that_is_wrong_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("{name: a}")
    with pytest.raises(ConfigurationError, match=r"policy\.yaml"):
        build_app({"shadow": {"enabled": True, "policy_file": file}})


def test_p2_a_consumer_has_more_time_to_stop_than_its_drain_takes_and_less_than_serve_gives() -> None:
    app = build_app({"delivery": {"drain_timeout_s": 24}})
    config = app._bound_deployment._deployment_config  # noqa: SLF001 - see above

    assert 24 < config.graceful_shutdown_timeout_s < 30


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_SERVE__CONSUMERS", "9")
    monkeypatch.setenv("WEIR_KAFKA__GROUP_ID", "from-environment")
    stream = build_app({"serve": {"consumers": 2}})._bound_deployment  # noqa: SLF001 - see above

    assert stream.num_replicas == 2
    assert stream.init_args[0].kafka.group_id == "from-environment"


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({"gaurd": {}}, "gaurd: unknown setting"),
        ({"guard": {"modle": "demo"}}, r"guard\.modle: unknown setting"),
        ({"guard": {"replicas": 0}}, r"guard\.replicas=0"),
        ({"topics": {"events": "a", "verdicts": "a"}}, r"topics\.verdicts=a"),
    ],
)
def test_wrong_arguments_are_refused_by_name(args: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        build_app(args)


def test_whoever_answers_over_http_is_one_and_asks_the_same_guards() -> None:
    assert "ask" not in build_app({"guard": {"model": "demo"}})._bound_deployment.init_kwargs  # noqa: SLF001
    stream = build_app({"guard": {"model": "demo"}, "ask": {"enabled": True}})._bound_deployment  # noqa: SLF001
    ask = stream.init_kwargs["ask"]._bound_deployment  # noqa: SLF001

    assert (ask.name, ask.num_replicas, ask.init_args[0]) == (ASK, 1, stream.init_args[0])
    assert ask.init_args[1] is stream.init_args[1]


def test_it_can_be_alone_with_as_many_guards_as_are_set_and_without_kafka_s_backlog() -> None:
    settings = load_settings(guard={"replicas": 3}, autoscaling={"enabled": True})
    ask = ask_application_of(settings)._bound_deployment  # noqa: SLF001
    guard = ask.init_args[1]._bound_deployment  # noqa: SLF001

    assert (ask.name, guard.name, guard.num_replicas) == (ASK, GUARD, 3)


def test_wrong_keys_are_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ask\.keys_file=.*cannot be read"):
        build_app({"ask": {"enabled": True, "keys_file": tmp_path / "none.yaml"}})
    with pytest.raises(ConfigurationError, match=r"ask\.host=0\.0\.0\.0 needs ask\.keys_file"):
        build_app({"ask": {"host": "0.0.0.0"}})
