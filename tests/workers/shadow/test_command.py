"""`weir shadow report` on a topic that a lane has written."""

import json

import pytest
from typer.testing import CliRunner

from tests.guards.scripted_guard import ScriptedGuard
from tests.site import Site, event, wait_until
from tests.workers.shadow.test_lane import answer, compared, settings_of
from workers.cli.app import app


@pytest.fixture
def command(site: Site, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """Runs commands on the test's topics."""
    kafka = site.settings.kafka
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    if kafka.api_version is not None:
        monkeypatch.setenv("WEIR_KAFKA__API_VERSION", kafka.api_version)
    monkeypatch.setenv("WEIR_TOPICS__SHADOW", site.settings.topics.shadow)
    return CliRunner()


def test_it_shows_agreement_a_matrix_and_examples_by_id(site: Site, command: CliRunner) -> None:
    settings = settings_of(site, revision="0123456789abcdef")
    lane = site.start_shadow(settings, ScriptedGuard(answer))
    site.produce([event(f"e{i}", f"private words {i}") for i in range(20)])
    site.start(ScriptedGuard(), settings, shadow=lane)
    wait_until(lambda: compared(lane) == 20, "20 comparisons")
    lane.stop(20.0)

    shown = command.invoke(app, ["shadow", "report"])
    assert shown.exit_code == 0, shown.output
    assert "agreement 90.00%; 2 of 20 differ: severity 2, categories 2, action 2" in shown.output
    assert "candidate@0123456789ab, policy default 1" in shown.output
    assert "of 2 disagreements" in shown.output
    assert "Unsafe block Violent" in shown.output
    assert "private" not in shown.output
    found = json.loads(command.invoke(app, ["shadow", "report", "--json", "--examples", "1"]).stdout)
    (comparison,) = found["comparisons"]
    assert (comparison["agreement"], comparison["agreed"], comparison["disagreed"]) == (0.9, 18, 2)
    assert {pair["count"] for pair in comparison["pairs"]} == {18, 2}
    assert [len(found["examples"]), found["disagreements"]] == [1, 2]


def test_a_topic_without_a_summary_is_said_and_fails(site: Site, command: CliRunner) -> None:
    shown = command.invoke(app, ["shadow", "report"])

    assert site.records(3) == []
    assert shown.exit_code == 1
    assert "no summary in the topic" in shown.output
