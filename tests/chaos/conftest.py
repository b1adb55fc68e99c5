"""The site of the chaos tests, started once; an arena for each scenario; and what is printed where one fails.

Tests that use the site run where they are asked for: by a path in this folder, or by `-m`. Those that CI leaves to
`make chaos` are marked `slow`. The others here are plans and detectors, need nothing, and always run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cache import UnavailableError
from tests.chaos.arena import AT_LEAST_ONCE, EXACTLY_ONCE, Arena
from tests.chaos.site import Site
from tests.chaos.toxiproxy import binary
from tests.kafka.distribution import required

SCENARIO_TIMEOUT_S = 300
NewArena = Callable[..., Arena]
# Of scenarios that are about what is published twice, and of those that the mode makes no difference to.
AT_LEAST_ONCE_ONLY = pytest.mark.parametrize("mode", [AT_LEAST_ONCE])
_FOLDER = Path(__file__).parent
_arenas = pytest.StashKey[list[Arena]]()
_skipped: list[str] = []
_left_out: list[pytest.Item] = []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the scenarios before `-m` chooses, and leave them out where nobody asked for them."""
    scenarios = [
        item for item in items if item.path.is_relative_to(_FOLDER) and "new_arena" in getattr(item, "fixturenames", ())
    ]
    for item in scenarios:
        item.add_marker(pytest.mark.integration)
        item.add_marker(pytest.mark.chaos)
        item.add_marker(pytest.mark.timeout(SCENARIO_TIMEOUT_S))
        if not _is_of_ci(item):
            item.add_marker(pytest.mark.slow)
    if not _asked_for(config):
        _left_out.extend(scenarios)
        config.hook.pytest_deselected(items=_left_out)
        left_out = set(_left_out)
        items[:] = [item for item in items if item not in left_out]


def _chaos_required() -> bool:
    return os.environ.get("REQUIRE_CHAOS") == "1"


def _is_of_ci(item: pytest.Item) -> bool:
    """Marked `ci`, for the mode that it runs in: those that the mark names, by default at least once."""
    marker = item.get_closest_marker("ci")
    return marker is not None and item.callspec.params["mode"] in (marker.args or (AT_LEAST_ONCE,))  # type: ignore[attr-defined]


def _asked_for(config: pytest.Config) -> bool:
    start = config.invocation_params.dir
    paths = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return bool(config.option.markexpr) or any(path.is_relative_to(_FOLDER) for path in paths)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Tell the story of a scenario that failed: its seed, its workers, the last that was seen of its group."""
    report = yield
    if call.when == "call" and report.failed:
        for arena in item.stash.get(_arenas, []):
            report.sections.append(("chaos", arena.tell()))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once why the scenarios were skipped or left out."""
    if _left_out:
        terminalreporter.write_line(f"{len(_left_out)} chaos scenarios left out: make chaos, or pytest tests/chaos")
    for reason in _skipped:
        terminalreporter.write_line(f"chaos scenarios skipped: {reason}")


@pytest.fixture(scope="session")
def _site_can_run() -> None:
    try:
        binary()
    except UnavailableError as error:
        if required() or _chaos_required():
            pytest.fail(f"REQUIRE_INTEGRATION=1 or REQUIRE_CHAOS=1, but {error}", pytrace=False)
        _skipped.append(str(error))


@pytest.fixture(scope="session")
def site(_kafka_can_run: None, _site_can_run: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three servers behind proxies."""
    if _skipped:
        pytest.skip(_skipped[0])
    # Those who observe are told of every server that is killed on purpose.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    with Site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(params=[AT_LEAST_ONCE, EXACTLY_ONCE])
def mode(request: pytest.FixtureRequest) -> str:
    """Every scenario runs in both modes of delivery, unless it says that it is about one."""
    return str(request.param)


@pytest.fixture
def new_arena(request: pytest.FixtureRequest, site: Site, tmp_path: Path, mode: str) -> Iterator[NewArena]:
    """`new_arena(seed, …)` makes topics, a group and a load; see `Arena`."""
    made: list[Arena] = request.node.stash.setdefault(_arenas, [])

    def make(seed: int, **options: Any) -> Arena:
        made.append(Arena(site, tmp_path, seed, mode=mode, **options))
        return made[-1]

    yield make
    for arena in made:
        arena.close()
