"""Writes infra/metrics.md from the metric table; `make fmt` runs it, a test compares it."""

from pathlib import Path

from workers.telemetry.metrics.page import metrics_page


def main() -> None:
    """Write the page."""
    Path(__file__).with_name("metrics.md").write_text(metrics_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
