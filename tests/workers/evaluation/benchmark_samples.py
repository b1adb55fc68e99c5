"""Rows of every benchmark in its published columns, and the examples that are in them."""

import json
from typing import Any

WILDGUARD = {"prompt": "p", "adversarial": False, "response": "r", "subcategory": "fraud"}
HARMBENCH = {"SemanticCategory": "illegal", "Tags": "", "ContextString": "", "BehaviorID": "b1"}
VOTES = {"test_case": "t", "generation": "g", "model": "m", "experiment": "e", "behavior_id": "b1"}
SAFE_RLHF = {"prompt": "p", "response_0": "r0", "response_1": "r1", "better_response_id": 0, "safer_response_id": 1}
AEGIS2 = {
    "id": "1",
    "reconstruction_id_if_redacted": None,
    "prompt_label_source": "human",
    "response_label_source": None,
}
AEGIS = {"id": 1, "num_annotations": 3, "labels_3": None, "labels_4": None}
TOXICCHAT = {"conv_id": "c", "model_output": "o", "jailbreaking": 0, "openai_moderation": "[]"}
QWEN = {"unique_id": "u", "source": "s", "input_ids": None, "unsafe_start_index": None, "unsafe_end_index": None}
TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\na"}]
PLACED = {**QWEN, "label": "Unsafe", "unsafe_type": None, "unsafe_start_index": 3, "unsafe_end_index": 3}
ANSWERED = [TURNS[0], {"role": "assistant", "content": "a"}]
UNSAFE = ("Unsafe", None, (), None)
XSTEST = {"id_v1": "v1-1", "id_v2": "v2-1", "focus": "f", "note": ""}
RESPONSE = {"prompt_type": "prompt_harmful", "prompt_harm_category": "x"}

# File, rows, and for each example: form, benchmark, last role, text, severity, refusal, categories, language.
CASES: list[tuple[str, list[dict[str, Any]], list[tuple[Any, ...]], dict[str, int]]] = [
    (
        "toxic-chat_annotation_test.csv",
        [
            {**TOXICCHAT, "user_input": "bad", "human_annotation": True, "toxicity": 1},
            {**TOXICCHAT, "user_input": "fine", "human_annotation": True, "toxicity": 0},
            {**TOXICCHAT, "user_input": "unknown", "human_annotation": False, "toxicity": 0},
        ],
        [
            ("toxicchat", "toxicchat", "user", "bad", "Unsafe", None, (), None),
            ("toxicchat", "toxicchat", "user", "fine", "Safe", None, (), None),
        ],
        {"not annotated by people": 1},
    ),
    (
        "samples-1680.jsonl.gz",
        [
            {"prompt": "a", "S": 0, "H": 0, "V": 1, "HR": 0, "SH": 0, "S3": 0, "H2": 0, "V2": 1},
            {"prompt": "b", "S": 0, "S3": 0},
            {"prompt": "c", "HR": 1, "SH": 0, "V": 0, "V2": 0},
        ],
        [
            (*("openai_moderation",) * 2, "user", "a", "Unsafe", None, ("violence", "violence/graphic"), None),
            (*("openai_moderation",) * 2, "user", "b", "Safe", None, (), None),
            (*("openai_moderation",) * 2, "user", "c", "Unsafe", None, ("harassment",), None),
        ],
        {},
    ),
    (
        "aegis1.parquet",
        [
            {
                **AEGIS,
                "text": " a ",
                "text_type": "user_message",
                "labels_0": "Safe",
                "labels_1": "Violence",
                "labels_2": "Threat",
            },
            {
                **AEGIS,
                "text": "b",
                "text_type": "user_message",
                "labels_0": "Safe",
                "labels_1": "Safe",
                "labels_2": "Threat",
            },
            {
                **AEGIS,
                "text": "c",
                "text_type": "llm_response",
                "labels_0": "Safe",
                "labels_1": "Safe",
                "labels_2": "Safe",
            },
        ],
        [
            ("aegis", "aegis", "user", "a", "Unsafe", None, (), None),
            ("aegis", "aegis", "user", "b", "Safe", None, (), None),
        ],
        {"not a user message": 1},
    ),
    (
        "test.json",
        [
            {
                **AEGIS2,
                "prompt": "p",
                "response": None,
                "prompt_label": "unsafe",
                "response_label": None,
                "violated_categories": "Violence, Threat",
            },
            {
                **AEGIS2,
                "prompt": "p",
                "response": "r",
                "prompt_label": "unsafe",
                "response_label": "safe",
                "violated_categories": "Violence",
            },
            {
                **AEGIS2,
                "prompt": "p",
                "response": "",
                "prompt_label": "safe",
                "response_label": "safe",
                "violated_categories": "",
            },
            {
                **AEGIS2,
                "prompt": "REDACTED",
                "response": None,
                "prompt_label": "unsafe",
                "response_label": None,
                "violated_categories": "Suicide and Self Harm",
            },
        ],
        [
            ("aegis2", "aegis2", "user", "p", "Unsafe", None, ("Violence", "Threat"), None),
            ("aegis2", "aegis2", "user", "p", "Unsafe", None, ("Violence",), None),
            ("aegis2", "aegis2", "assistant", "r", "Safe", None, ("Violence",), None),
            ("aegis2", "aegis2", "user", "p", "Safe", None, (), None),
            ("aegis2", "aegis2", "assistant", "", "Safe", None, (), None),
        ],
        {"redacted": 1},
    ),
    (
        "sst_test_cases.csv",
        [{"id": "s1", "harm_area": "Scams & Fraud", "category": "Instructions", "prompt": "p"}],
        [(*("simple_safety_tests",) * 2, "user", "p", "Unsafe", None, ("Scams & Fraud",), None)],
        {},
    ),
    (
        "harmbench_behaviors_text_test.csv",
        [
            {**HARMBENCH, "Behavior": "a", "FunctionalCategory": "standard"},
            {**HARMBENCH, "Behavior": "b", "FunctionalCategory": "contextual"},
            {**HARMBENCH, "Behavior": "c", "FunctionalCategory": "copyright"},
        ],
        [
            ("harmbench", "harmbench", "user", "a", "Unsafe", None, ("illegal",), None),
            ("harmbench", "harmbench", "user", "c", "Unsafe", None, ("illegal",), None),
        ],
        {"needs a context": 1},
    ),
    (
        "behaviours_of_text_behaviors_val_set.json",
        [{**VOTES, "human_0": 1, "human_1": 1, "human_2": 0}, {**VOTES, "human_0": 1, "human_1": 0, "human_2": 0}],
        [
            ("harmbench_responses", "harmbench", "assistant", "g", "Unsafe", None, (), None),
            ("harmbench_responses", "harmbench", "assistant", "g", "Safe", None, (), None),
        ],
        {},
    ),
    (
        "beavertails.jsonl.xz",
        [
            {
                "prompt": "p",
                "response": "r",
                "category": {"animal_abuse": True, "child_abuse": False},
                "is_safe": False,
            },
            {
                "prompt": "p",
                "response": "s",
                "category": {"animal_abuse": False, "child_abuse": False},
                "is_safe": True,
            },
        ],
        [
            ("beavertails", "beavertails", "assistant", "r", "Unsafe", None, ("animal_abuse",), None),
            ("beavertails", "beavertails", "assistant", "s", "Safe", None, (), None),
        ],
        {},
    ),
    (
        "saferlhf.jsonl",
        [
            {
                **SAFE_RLHF,
                "is_response_0_safe": False,
                "is_response_1_safe": True,
                "response_0_harm_category": {"Drugs": True},
                "response_1_harm_category": {"Drugs": False},
            },
            {**SAFE_RLHF, "is_response_0_safe": True, "is_response_1_safe": True},
        ],
        [
            ("safe_rlhf", "safe_rlhf", "assistant", "r0", "Unsafe", None, ("Drugs",), None),
            ("safe_rlhf", "safe_rlhf", "assistant", "r1", "Safe", None, (), None),
        ],
        {"both responses have one label": 1},
    ),
    (
        "xstest_v2_prompts.csv",
        [{**XSTEST, "type": "homonyms", "prompt": "a"}, {**XSTEST, "type": "contrast_homonyms", "prompt": "b"}],
        [
            ("xstest", "xstest", "user", "a", "Safe", None, ("homonyms",), None),
            ("xstest", "xstest", "user", "b", "Unsafe", None, ("contrast_homonyms",), None),
        ],
        {},
    ),
    (
        "xstest_prompts.csv",
        [{"id": "1", "prompt": "a", "type": "homonyms", "label": "unsafe", "focus": "f", "note": ""}],
        [("xstest", "xstest", "user", "a", "Unsafe", None, ("homonyms",), None)],
        {},
    ),
    (
        "response_harmfulness.parquet",
        [{**RESPONSE, "prompt": "p", "response": "r", "label": label} for label in ("harmful", "unharmful")],
        [
            ("xstest_responses", "xstest", "assistant", "r", "Unsafe", None, (), None),
            ("xstest_responses", "xstest", "assistant", "r", "Safe", None, (), None),
        ],
        {},
    ),
    (
        "response_refusal.parquet",
        [{**RESPONSE, "prompt": "p", "response": "r", "label": label} for label in ("refusal", "compliance")],
        [
            ("xstest_responses", "xstest", "assistant", "r", None, True, (), None),
            ("xstest_responses", "xstest", "assistant", "r", None, False, (), None),
        ],
        {},
    ),
    (
        "wildguard_test.parquet",
        [
            {
                **WILDGUARD,
                "prompt_harm_label": "harmful",
                "response_harm_label": "unharmful",
                "response_refusal_label": "refusal",
            },
            {
                **WILDGUARD,
                "prompt_harm_label": None,
                "response_harm_label": None,
                "response_refusal_label": "compliance",
            },
            {**WILDGUARD, "prompt_harm_label": None, "response_harm_label": None, "response_refusal_label": None},
        ],
        [
            ("wildguard", "wildguard", "user", "p", "Unsafe", None, ("fraud",), None),
            ("wildguard", "wildguard", "assistant", "r", "Safe", True, ("fraud",), None),
            ("wildguard", "wildguard", "assistant", "r", None, False, ("fraud",), None),
        ],
        {"no label": 1},
    ),
    (
        "RTP_LX_DE.json",
        [
            {"Index": 1, "Prompt": "a", "PromptAnnotations": {"Toxicity": 3.0, "Bias": 1.0, "Insult": 2.0}},
            {"Index": 2, "Prompt": "b", "PromptAnnotations": {"Toxicity": 1.0, "Bias": 1.0}},
            {"Index": 3, "Prompt": "c", "PromptAnnotations": None},
            {"Index": 4, "Prompt": "d", "PromptAnnotations": {"Toxicity": 2.0}, "Locale": "ZH-Hans"},
        ],
        [
            ("rtp_lx", "rtp_lx", "user", "a", "Unsafe", None, ("Insult",), "de"),
            ("rtp_lx", "rtp_lx", "user", "b", "Safe", None, (), "de"),
            ("rtp_lx", "rtp_lx", "user", "d", "Unsafe", None, (), "zh-hans"),
        ],
        {"no label": 1},
    ),
    (
        "thinking.jsonl",
        [
            {**QWEN, "message": TURNS, "label": "Unsafe", "unsafe_type": "Violent"},
            {**QWEN, "message": TURNS, "label": "Safe", "unsafe_type": None},
        ],
        [
            (*("qwen3guardtest",) * 2, "assistant", TURNS[1]["content"], "Unsafe", None, ("Violent",), None),
            (*("qwen3guardtest",) * 2, "assistant", TURNS[1]["content"], "Safe", None, (), None),
        ],
        {},
    ),
    (
        "placed.jsonl",
        [
            {**PLACED, "message": TURNS},
            {**PLACED, "message": json.dumps(ANSWERED), "unsafe_start_index": "3.0"},
            {**QWEN, "message": ANSWERED, "label": "Safe", "unsafe_type": None},
        ],
        [
            ("qwen3guardtest", "qwen3guardtest_thinking_loc", "assistant", TURNS[1]["content"], *UNSAFE),
            ("qwen3guardtest", "qwen3guardtest_response_loc", "assistant", "a", *UNSAFE),
            ("qwen3guardtest", "qwen3guardtest", "assistant", "a", "Safe", None, (), None),
        ],
        {},
    ),
]
