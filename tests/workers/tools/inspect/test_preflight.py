"""`weir check` as a whole: a cause is named by the first check that meets it, and by no other."""

from pathlib import Path

import pytest

from workers import extras
from workers.tools.inspect.preflight import preflight


def test_an_extra_that_is_missing_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "weir.yaml"
    config.write_text("ask: {enabled: true}\ndeltas: {enabled: true}\nkafka: {bootstrap_servers: 'localhost:1'}\n")
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in ("torch", "uvicorn") else name)
    found = {result.name: result for result in preflight(config, 2.0, 2.0, skip_model=False)}

    failed = [name for name, result in found.items() if result.status == "fail"]
    assert failed == ["extras", "broker"]
    assert found["extras"].found == "torch is not installed: pip install 'weir-moderation[serve]'"
    assert {found[name].found for name in ("ask", "device", "model", "stream model")} == {"see extras"}


@pytest.mark.parametrize(
    ("candidate", "shadow"),
    [("model: demo", ("skip", "see policy")), ("policy_file: other.yaml", ("fail", "policy file other.yaml"))],
    ids=["the same policy", "a policy of its own"],
)
def test_a_policy_that_cannot_be_read_is_named_once(tmp_path: Path, candidate: str, shadow: tuple[str, str]) -> None:
    config = tmp_path / "weir.yaml"
    shadowed = f"shadow: {{enabled: true, {candidate}}}"
    config.write_text(f"policy: {{file: absent.yaml}}\n{shadowed}\nkafka: {{bootstrap_servers: 'localhost:1'}}\n")
    found = {result.name: result for result in preflight(config, 2.0, 2.0, skip_model=True)}

    assert found["policy"].found.startswith("policy file absent.yaml: cannot be read")
    assert found["shadow"].status == shadow[0]
    assert found["shadow"].found.startswith(shadow[1])
    assert [result.name for result in found.values() if "absent.yaml" in result.found] == ["policy"]
