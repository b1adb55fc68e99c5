"""What capacity is computed from: shapes of the models, data sheets of GPUs, and measurements.

A figure without a measurement behind it says so where it is used. Computes nothing.
"""

from typing import NamedTuple

from pipelines.guard_family import QWEN3GUARD_GEN


class ModelShape(NamedTuple):
    """A size of the family; `tied` says whether input and output embeddings are one matrix."""

    layers: int
    hidden: int
    heads: int
    mlp: int
    tied: bool


class Gpu(NamedTuple):
    """From the vendor's data sheet: dense bf16 TFLOP/s, memory in GB and its bandwidth in GB/s."""

    tflops: float
    memory_gb: float
    bandwidth_gb_s: float


class EngineFigure(NamedTuple):
    """A measured throughput: messages/s of one replica on `gpu`, with so many tokens in each message.

    The tokens are those of prompts whose verdict is Safe; None stands for the very load that is planned.
    """

    gpu: str
    model: str
    tokens: float | None
    messages_per_second: float
    source: str


class HostFigure(NamedTuple):
    """CPU microseconds beside the model, in a consumer and in a guard replica: of a message, and of a call."""

    consumer_us: float
    replica_us: float
    consumer_call_us: float
    replica_call_us: float
    source: str

    def consumer(self, chunk: int) -> float:
        """Of a message in a consumer's process, with so many in a call."""
        return self.consumer_us + self.consumer_call_us / chunk

    def replica(self, chunk: int) -> float:
        """The same in a guard replica's process."""
        return self.replica_us + self.replica_call_us / chunk


KEY_VALUE_HEADS = 8
HEAD_SIZE = 128
VOCABULARY = 151_936
BYTES = 2  # bfloat16
# Whether 4B's are tied has not been seen; untied is the larger.
MODELS = {
    "0.6B": ModelShape(28, 1_024, 16, 3_072, tied=True),
    "4B": ModelShape(36, 2_560, 32, 9_728, tied=False),
    "8B": ModelShape(36, 4_096, 32, 12_288, tied=False),
}
FAMILY = QWEN3GUARD_GEN  # whose sizes these are
# What a verdict other than Safe costs in its second pass.
SECOND_PASS_TOKENS = 10
GPUS = {
    "b200": Gpu(2_250, 180, 7_700),
    "h200": Gpu(989, 141, 4_800),
    "h100": Gpu(989, 80, 3_350),
    "a100": Gpu(312, 80, 2_039),
    "l40s": Gpu(362, 48, 864),
    "l4": Gpu(121, 24, 300),
}
CPUS = frozenset({"zen5-2core"})  # of the machines with a figure; all others are GPUs
MEASURED = (EngineFigure("zen5-2core", "0.6B", 10, 7.22, "measured on a CPU, infra/benchmarks/2026-11-21-engine.md"),)
# With a stream worker, Serve's handle and a replica whose engine answers at once.
HOST = HostFigure(82, 38, 2_000, 2_400, "infra/benchmarks/2026-11-30-host.md")
