"""Which templates are proven to only print contents: the guard's look-alike, and none that does more with one."""

import pytest

from tests.workers.serving.engine.conftest import TEMPLATE
from workers.serving.engine.template_proof import only_prints_contents

PRINTING = [
    TEMPLATE,
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' ~ m['content'] + '<|im_end|>' }}{% endfor %}",
    "{% for m in messages[1:] %}{% if loop.index > 1 and m.role != 'user' %}{{ m.content }}{% endif %}{% endfor %}",
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{{ messages|length }}",
    "{% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}none{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role }}{{ loop.nextitem['content'] }}{% endfor %}",
    "no message at all {{ 'content' }}",
]
DOING_MORE = [
    "{% for m in messages %}{{ m.content|trim }}{% endfor %}",
    "{% for m in messages %}{{ m.content.strip() }}{% endfor %}",
    "{% for m in messages %}{{ m.content[:99] }}{% endfor %}",
    "{% for m in messages %}{{ (m.content + '!')|upper }}{% endfor %}",
    "{% for m in messages %}{% if m.content %}{{ m.content }}{% endif %}{% endfor %}",
    "{% for m in messages %}{% if 'x' in m.content %}y{% endif %}{% endfor %}",
    "{% for m in messages %}{{ m.content if m.content is string else '' }}{% endfor %}",
    "{% for m in messages %}{% set c = m.content %}{{ c }}{% endfor %}",
    "{% for m in messages %}{% set m = other %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{{ m[key] }}{% endfor %}",
    "{% for m in messages %}{{ m.get('content') }}{% endfor %}",
    "{% for m in messages %}{{ m }}{% endfor %}",
    "{% for m in messages %}{% for key, value in m.items() %}{{ value }}{% endfor %}{% endfor %}",
    "{% for m in messages|reverse %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{{ show(m) }}{% endfor %}",
    "{{ messages|tojson }}",
    "{% set messages = messages[1:] %}{% for m in messages %}{{ m.content }}{% endfor %}",
    "{% set ns = namespace(last=messages[-1]) %}{{ ns.last.content }}",
    "{% for m in messages recursive %}{{ m.content }}{% endfor %}",
    "{% for m in messages %}{% for n in messages %}{{ loop.previtem.content == m.role }}{% endfor %}{% endfor %}",
    "{% for m in messages %}{{ m.content * 2 }}{% endfor %}",
    "{% filter upper %}{% for m in messages %}{{ m.content }}{% endfor %}{% endfilter %}",
    "{% set all %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}{{ all[:9] }}",
    "{% for m in messages %}{% call show() %}{{ m.content }}{% endcall %}{% endfor %}",
    "{% macro show() %}{% for m in messages %}{{ m.content }}{% endfor %}{% endmacro %}{{ show()[:9] }}",
    "{% for m in messages %",
]


@pytest.mark.parametrize("template", PRINTING)
def test_what_only_prints_contents_is_proven(template: str) -> None:
    assert only_prints_contents(template)


@pytest.mark.parametrize("template", DOING_MORE)
def test_what_does_more_with_a_content_is_not(template: str) -> None:
    assert not only_prints_contents(template)
