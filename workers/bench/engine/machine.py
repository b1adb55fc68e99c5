"""What figures depend on beside the code: the machine, and its clock. Knows nothing of what is measured."""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

from workers.bench.engine.processor import processor


def machine_of(device: torch.device) -> dict[str, object]:
    """The machine as this process sees it."""
    load = Path("/proc/loadavg").read_text().split()[0] if Path("/proc/loadavg").exists() else None
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "load_average": load,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """How long `run` takes, with all that it has the device do."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    started = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - started
