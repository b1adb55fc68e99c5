"""How tests share processes: file by file, so that what a module sets up is set up once. A pytest plugin.

Files are in order of what they need. One process takes them from the front, the other from the back, so that both end
together, and seldom need the same thing at the same time: while the scenarios of chaos mostly wait, Ray starts.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

_NEEDS = ("chaos", "integration", "", "ray")


class FromBothEnds(LoadFileScheduling):
    """Every second process takes from the back."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if self.nodes.index(node) % 2:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FromBothEnds | None:
    """Ours in place of xdist's `loadfile`."""
    if config.option.dist != "loadfile":
        return None
    config.option.loadscopereorder = False
    return FromBothEnds(config, log)


@pytest.hookimpl(trylast=True)  # once all are marked, and those chosen that will run
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them in order of what they need; what needs the same stays as it was."""
    items.sort(key=lambda item: _NEEDS.index(need_of(item)))


def need_of(item: pytest.Item) -> str:
    """What takes longest to set up of all that a test is marked with."""
    return next((need for need in _NEEDS if need and item.get_closest_marker(need)), "")
