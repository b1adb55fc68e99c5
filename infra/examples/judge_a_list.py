"""Judge a list in Python, without Kafka and Ray. Cells as in a notebook; `python judge_a_list.py [MODEL]` runs all.

MODEL is a hub name or a folder; without one it is the demo's tiny model, which knows made-up words only.
"""

# %% Load a model: once, it takes seconds.
import sys

from schemas.verdict import Action, Verdict
from workers.moderator import Item, Moderator

moderator = Moderator.load(sys.argv[1] if len(sys.argv) > 1 else "demo")

# %% What is judged is a text, or the last turn of a conversation.
items: list[Item] = [
    "good morning, is there coffee left?",
    "bring me the skarnade",
    [
        {"role": "user", "content": "what shall I cook tonight?"},
        {"role": "assistant", "content": "a soup of leeks and potatoes"},
    ],
    {"event_id": "post-17", "tenant": "kids", "text": "see you at the playground"},
    "   ",
]

# %% One outcome for each, in order: a verdict, or a dead letter that says why there is none.
outcomes = moderator.judge(items)
for outcome in outcomes:
    if isinstance(outcome, Verdict):
        print(outcome.severity, outcome.action, *outcome.categories)
    else:
        print("no verdict:", outcome.reason)

# %% Outcomes are pydantic models.
blocked = [outcome for outcome in outcomes if isinstance(outcome, Verdict) and outcome.action is Action.BLOCK]
print(f"{len(blocked)} of {len(items)} blocked")
