"""Names of texts in one report: equal texts have one name, which tells nobody whether a text was a certain one.

A plain digest of a chat message can be guessed: most messages are short, and all short ones can be hashed.
"""

from hashlib import blake2b
from secrets import token_bytes

from workers.audit.report.model import AuditReport

_NAME_BYTES = 8


def with_text_names(report: AuditReport) -> AuditReport:
    """The report with names in place of the texts' digests, by a key that is kept nowhere."""
    key = token_bytes(32)

    def name(digest: str) -> str:
        return blake2b(digest.encode(), key=key, digest_size=_NAME_BYTES).hexdigest()

    examples = [
        listed.model_copy(
            update={
                "examples": [
                    example.model_copy(update={"text_name": name(example.text_name)}) for example in listed.examples
                ]
            }
        )
        for listed in report.examples
    ]
    compared = report.comparison
    if compared is not None:
        flips = [flip.model_copy(update={"text_name": name(flip.text_name)}) for flip in compared.flips]
        compared = compared.model_copy(update={"flips": flips})
    return report.model_copy(update={"examples": examples, "comparison": compared})
