"""An audit on the replicas of a running application, behind its live traffic, with the demo's model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray import serve

from tests.ray_session import serve_on_ray
from tests.weir_result import Result
from tests.workers.audit.scripted_lane import MAPPING, chat, rows_of, write_parquet
from workers.guard.names import APP_NAME
from workers.serving.app import build_app

GUARD = {"model": "demo", "dtype": "float32", "max_new_tokens": 32, "compile": False, "cpus_per_replica": 0.5}


@pytest.fixture
def _application(_local_ray: None) -> Iterator[None]:
    """The application's guard deployment, without its consumers."""
    application = build_app({"guard": GUARD})._bound_deployment.init_args[1]  # noqa: SLF001 - as in test_app
    with serve_on_ray():
        serve.run(application, name=APP_NAME, route_prefix=None)
        yield


@pytest.mark.ray
@pytest.mark.usefixtures("_application")
def test_the_application_judges_for_an_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_parquet(tmp_path / "chat.parquet", chat(20))
    for name in ("model", "dtype", "max_new_tokens", "compile"):
        monkeypatch.setenv(f"WEIR_GUARD__{name.upper()}", str(GUARD[name]))
    fields = [word for field, column in MAPPING.items() for word in ("--map", f"{field}={column}")]
    made = Result("audit", "run", str(log), "--into", str(tmp_path / "run"), *fields, "--on-application", "--json")
    verdicts, letters = rows_of(tmp_path / "run")

    assert made.code == 0, made.err
    assert len(verdicts) + len(letters) == 20
    assert made.json["provenance"]["model"] == "demo"
    assert made.json["cost"]["prompt_tokens"] > 0
