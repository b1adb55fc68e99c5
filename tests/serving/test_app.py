"""The application builder: arguments win, wrong ones are refused before anything starts."""

import pytest

from schemas.errors import ConfigurationError
from workers.serving.app import GUARD, STREAM, build_app


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
        ({"kafka": {"enable_auto_commit": True}}, r"kafka\.enable_auto_commit=true"),
    ],
)
def test_wrong_arguments_are_refused_by_name(args: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        build_app(args)
