"""One small random Stream model for all tests here, in both dtypes."""

from pathlib import Path

import pytest

from tests.workers.serving.engine.streaming.stream_models import write_stream_model
from workers.serving.engine.stream_guard import StreamGuard


@pytest.fixture(scope="session")
def stream_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stream_model(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="session")
def guard(stream_folder: Path) -> StreamGuard:
    return StreamGuard.load(str(stream_folder), device="cpu", dtype="float32")
