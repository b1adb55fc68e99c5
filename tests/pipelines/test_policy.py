"""The policy: total over every classification and tenant, monotone, and a file that is wrong names what is wrong."""

import hashlib
import itertools
import re
import textwrap
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.guard_parser import Classification
from pipelines.policy import Policy, load_policy
from pipelines.policy_rules import Decision, PolicyFile, Treatment
from schemas.errors import ConfigurationError
from schemas.verdict import Action, Category, Severity

STRICTNESS = {Action.ALLOW: 0, Action.REVIEW: 1, Action.BLOCK: 2}
RANK = {Severity.SAFE: 0, Severity.CONTROVERSIAL: 1, Severity.UNSAFE: 2}
SAFE = Classification(Severity.SAFE, (), None)
HEAD = 'name: p\nversion: "1"\n'


def said(severity: Severity, *categories: Category, refusal: bool | None = None) -> Classification:
    return Classification(severity, categories, refusal)


def policy(**content: Any) -> Policy:
    return Policy(PolicyFile.model_validate({"name": "p", "version": "1", **content}), "0" * 64)


def write(path: Path, text: str) -> Path:
    file = path / "policy.yaml"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return file


FULL = """\
    name: community
    version: "7"
    controversial: {default: as_is, categories: {Jailbreak: strict, Politically Sensitive Topics: loose}}
    actions: {Unsafe: block}
    category_actions:
      Suicide & Self-Harm: {Controversial: allow, Unsafe: review}
    topics: {block: [blocked], review: [queue]}
    tenants:
      kids:
        controversial: strict
        category_actions: {Suicide & Self-Harm: {Controversial: block}}
        topics: {review: [kids.queue, queue]}
      lab:
        controversial: loose
        actions: {Unsafe: review}
        topics: {review: []}
    """


@pytest.mark.parametrize(
    ("tenant", "classification", "decision"),
    [
        ("x", SAFE, Decision(Action.ALLOW, Severity.SAFE, ())),
        ("x", said(Severity.UNSAFE, Category.PII), Decision(Action.BLOCK, Severity.UNSAFE, ("blocked",))),
        ("x", said(Severity.CONTROVERSIAL, Category.PII), Decision(Action.REVIEW, Severity.CONTROVERSIAL, ("queue",))),
        ("x", said(Severity.CONTROVERSIAL, Category.JAILBREAK), Decision(Action.BLOCK, Severity.UNSAFE, ("blocked",))),
        ("x", said(Severity.CONTROVERSIAL, Category.POLITICALLY_SENSITIVE), Decision(Action.ALLOW, Severity.SAFE, ())),
        ("x", said(Severity.CONTROVERSIAL, Category.SELF_HARM), Decision(Action.ALLOW, Severity.CONTROVERSIAL, ())),
        ("x", said(Severity.UNSAFE, Category.SELF_HARM), Decision(Action.REVIEW, Severity.UNSAFE, ("queue",))),
        (
            "x",
            said(Severity.UNSAFE, Category.SELF_HARM, Category.PII),
            Decision(Action.BLOCK, Severity.UNSAFE, ("blocked",)),
        ),
        (
            "x",
            said(Severity.CONTROVERSIAL, Category.POLITICALLY_SENSITIVE, Category.SELF_HARM),
            Decision(Action.ALLOW, Severity.CONTROVERSIAL, ()),
        ),
        ("kids", said(Severity.CONTROVERSIAL, Category.PII), Decision(Action.BLOCK, Severity.UNSAFE, ("blocked",))),
        (
            "kids",
            said(Severity.CONTROVERSIAL, Category.SELF_HARM),
            Decision(Action.REVIEW, Severity.UNSAFE, ("kids.queue", "queue")),
        ),
        ("lab", said(Severity.CONTROVERSIAL, Category.JAILBREAK), Decision(Action.ALLOW, Severity.SAFE, ())),
        ("lab", said(Severity.UNSAFE, Category.PII), Decision(Action.REVIEW, Severity.UNSAFE, ())),
    ],
)
def test_a_whole_policy(tmp_path: Path, tenant: str, classification: Classification, decision: Decision) -> None:
    loaded = load_policy(write(tmp_path, FULL))
    assert loaded.decide(classification, tenant) == decision


def test_a_loaded_policy_says_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, FULL)
    loaded = load_policy(path)
    assert (loaded.name, loaded.version) == ("community", "7")
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.topics == ("blocked", "kids.queue", "queue")


def test_the_built_in_policy() -> None:
    built_in = load_policy(None)
    assert (built_in.name, built_in.version, built_in.topics) == ("default", "1", ())
    assert built_in.sha256 == load_policy(None).sha256
    assert re.fullmatch("[0-9a-f]{64}", built_in.sha256)
    for severity, action in zip(Severity, (Action.ALLOW, Action.REVIEW, Action.BLOCK), strict=True):
        for category in Category:
            listed = () if severity is Severity.SAFE else (category,)
            assert built_in.decide(said(severity, *listed), "any") == Decision(action, severity, ())


def test_the_hash_of_the_built_in_policy_is_fixed() -> None:
    # It is in every verdict id: where this changes, all of them do.
    assert load_policy(None).sha256 == "b1876b4f8403073166143f0b918729ee280f869471f712cbd0b13d9e5de820ef"


def test_p3_a_policy_takes_nothing_but_a_classification() -> None:
    hints = get_type_hints(Policy.decide)
    assert hints == {"classification": Classification, "tenant": str, "return": Decision}


ACTIONS = st.sampled_from(Action)
CATEGORIES = st.sampled_from(Category)
TREATMENTS = st.sampled_from(Treatment)
HARSH = st.sampled_from([Severity.CONTROVERSIAL, Severity.UNSAFE])
RULES = st.fixed_dictionaries(
    {},
    optional={
        "controversial": TREATMENTS
        | st.fixed_dictionaries(
            {}, optional={"default": TREATMENTS, "categories": st.dictionaries(CATEGORIES, TREATMENTS)}
        ),
        "actions": st.dictionaries(st.sampled_from(Severity), ACTIONS),
        "category_actions": st.dictionaries(CATEGORIES, st.dictionaries(HARSH, ACTIONS)),
        "topics": st.dictionaries(ACTIONS, st.lists(st.sampled_from(["a", "b"]), max_size=2)),
    },
)
TENANTS = st.sampled_from(["default", "kids", "", "ключ"])
CLASSIFICATIONS = st.builds(
    Classification,
    st.sampled_from(Severity),
    st.lists(CATEGORIES, max_size=9, unique=True).map(tuple),
    st.sampled_from([None, True, False]),
)


@given(RULES, st.dictionaries(TENANTS.filter(bool), RULES, max_size=2), CLASSIFICATIONS, TENANTS)
def test_every_combination_has_a_decision(
    rules: dict[str, Any], tenants: dict[str, Any], classification: Classification, tenant: str
) -> None:
    made = policy(**rules, tenants=tenants)
    decision = made.decide(classification, tenant)
    assert decision.action in Action
    assert set(decision.topics) <= set(made.topics)
    if classification.severity is not Severity.CONTROVERSIAL:
        assert decision.treated_as is classification.severity
    assert decision == made.decide(classification, tenant)
    for category in classification.categories:
        alone = made.decide(said(classification.severity, category), tenant)
        assert STRICTNESS[decision.action] >= STRICTNESS[alone.action]
        assert RANK[decision.treated_as] >= RANK[alone.treated_as]


MONOTONE_ACTIONS = st.sampled_from(list(itertools.combinations_with_replacement(Action, 3)))


@given(MONOTONE_ACTIONS, st.dictionaries(CATEGORIES, st.tuples(st.integers(0, 2), st.integers(0, 2))), CLASSIFICATIONS)
def test_loose_is_never_stricter_than_strict_where_the_actions_are_monotone(
    general: tuple[Action, ...], stricter: dict[Category, tuple[int, int]], classification: Classification
) -> None:
    order = list(Action)
    category_actions = {}
    for category, (more, still_more) in stricter.items():
        controversial = min(2, STRICTNESS[general[1]] + more)
        unsafe = min(2, max(controversial, STRICTNESS[general[2]]) + still_more)
        category_actions[category] = {
            Severity.CONTROVERSIAL: order[controversial],
            Severity.UNSAFE: order[unsafe],
        }
    rules = {"actions": dict(zip(Severity, general, strict=True)), "category_actions": category_actions}
    strictness = [
        STRICTNESS[policy(controversial=treatment, **rules).decide(classification, "x").action]
        for treatment in (Treatment.LOOSE, Treatment.AS_IS, Treatment.STRICT)
    ]
    assert strictness == sorted(strictness)


def test_a_tenant_without_rules_of_its_own_has_the_general_ones() -> None:
    made = policy(controversial="strict", topics={"block": ["t"]}, tenants={"kids": {}})
    for severity, category in itertools.product(Severity, Category):
        assert made.decide(said(severity, category), "kids") == made.decide(said(severity, category), "other")


WRONG: list[tuple[str, str, str]] = [
    ("empty file", "", "a mapping is needed"),
    ("list", "- a", "a mapping is needed"),
    ("no version", "name: p", "version: Field required"),
    ("no name", 'version: "1"', "name: Field required"),
    ("version is a number", "name: p\nversion: 1.0", "version: Input should be a valid string, found 1.0"),
    ("blank name", 'name: " "\nversion: "1"', "name: "),
    ("unknown key", HEAD + "treatment: strict", "treatment: Extra inputs are not permitted, found 'strict'"),
    ("unknown action", HEAD + "actions: {Unsafe: delete}", "actions.Unsafe: .*found 'delete'"),
    ("action is a boolean", HEAD + "actions: {Unsafe: no}", "actions.Unsafe: .*found False"),
    ("severity in lower case", HEAD + "actions: {unsafe: block}", "actions.unsafe.*found 'unsafe'"),
    ("unknown treatment", HEAD + "controversial: hard", "controversial.default: .*found 'hard'"),
    ("treatment is a boolean", HEAD + "controversial: off", "controversial: .*found False"),
    ("unknown category", HEAD + "category_actions: {Spam: {Unsafe: block}}", "category_actions.Spam.*found 'Spam'"),
    ("category None", HEAD + "controversial: {categories: {None: strict}}", "controversial.categories.*found 'None'"),
    ("category action for Safe", HEAD + "category_actions: {PII: {Safe: block}}", "category_actions.PII.*found 'Safe'"),
    ("topic is no list", HEAD + "topics: {block: t}", "topics.block: .*found 't'"),
    ("topic name", HEAD + "topics: {block: [a b]}", "topics.block.0: .*found 'a b'"),
    ("topic is dots", HEAD + "topics: {block: [..]}", "topics.block.0: .*found '..'"),
    ("tenant is a boolean", HEAD + "tenants: {no: {}}", "tenants.*found False"),
    ("tenant is a number", HEAD + "tenants: {5: {}}", "tenants.*found 5"),
    ("tenant is empty", HEAD + "tenants: {'': {}}", "tenants.*found ''"),
    ("tenant has no rules", HEAD + "tenants: {kids: }", "tenants.kids: .*found None"),
    ("unknown key of a tenant", HEAD + "tenants: {kids: {name: k}}", "tenants.kids.name: Extra.*found 'k'"),
    ("key twice", HEAD + "name: q", "key 'name' is given twice.*line 3"),
    ("tenant twice", HEAD + "tenants:\n  kids: {}\n  kids: {}", "key 'kids' is given twice.*line 5"),
    ("same key in two spellings", HEAD + "tenants: {yes: {}, on: {}}", "key True is given twice"),
    ("not YAML", HEAD + "actions: [", "not YAML"),
    ("tab", HEAD + "\tactions: {}", "not YAML"),
    ("key is a list", HEAD + "? [a]\n: 1", "not YAML.*unhashable"),
    ("a Python object", HEAD + "tenants: !!python/name:os.system", "not YAML"),
    ("impossible date", HEAD + "tenants: 2026-99-99", "not YAML"),
    ("two documents", HEAD + "---\n" + HEAD, "not YAML"),
    ("too deep", HEAD + "tenants: " + "[" * 2000, "not YAML"),
]


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_file_names_itself_the_key_and_the_value(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=message) as raised:
        load_policy(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(HEAD.encode() + b"\xff")
    with pytest.raises(ConfigurationError, match="not YAML"):
        load_policy(path)


@pytest.mark.parametrize("name", ["missing.yaml", ""])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_policy(tmp_path / name)


def test_merge_keys_and_anchors_are_read(tmp_path: Path) -> None:
    text = (
        HEAD
        + "tenants:\n  a: &a {controversial: strict, actions: {Unsafe: review}}\n  b: {<<: *a, controversial: loose}"
    )
    loaded = load_policy(write(tmp_path, text))
    assert loaded.decide(said(Severity.CONTROVERSIAL, Category.PII), "b").treated_as is Severity.SAFE
    assert loaded.decide(said(Severity.UNSAFE, Category.PII), "b").action is Action.REVIEW
