"""Every page that an error leads to is there, and every topic is one that some error leads to."""

import ast
import re

import pytest
from documents import ROOT, headings

from fedbridge.cli.guidance import PAGE, TOPICS, page_for
from fedbridge.core.errors import UserError
from fedbridge.methods.files import load_config
from fedbridge.methods.smcf import SMCF

RULE = re.compile(r"[a-z]+\.[a-z_]+: must ")
"""How a method says that another setting does not suit it."""
RAISED = ("UserError", "UnavailableError", "ValueError")
PAGES = PAGE.format(page="troubleshooting")


def messages() -> list[str]:
    """Return the messages in the code, with ``...`` for what is filled in."""
    trees = [ast.parse(p.read_text("utf-8")) for p in (ROOT / "src" / "fedbridge").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    raised = [call for call in calls if getattr(call.func, "id", "") in RAISED and call.args]
    rules = [
        node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Return)
    ]
    returned = [as_text(value) for value in rules if isinstance(value, ast.JoinedStr)]
    return [as_text(call.args[0]) for call in raised] + [t for t in returned if RULE.match(t)]


def as_text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(as_text(value) for value in node.values)
    if isinstance(node, ast.BinOp):
        return as_text(node.left) + as_text(node.right)
    return "..."


@pytest.mark.parametrize("topic", TOPICS)
def test_topic_is_a_heading(topic):
    assert topic in headings(PAGES)


def test_every_topic_is_one_that_some_error_leads_to():
    reached = {page_for(message).partition("#")[2] for message in messages()}
    assert set(TOPICS) <= reached


def test_most_errors_lead_to_a_topic():
    told = [message for message in messages() if len(message.replace("...", "")) > 30]
    astray = [message for message in told if page_for(message) == PAGES]
    assert len(told) > 150 and len(astray) < len(told) / 10, astray


def test_a_mistake_in_every_option_of_a_learner_leads_to_settings(tmp_path):
    (tmp_path / "config.toml").write_text("")
    for name in SMCF.model_fields:
        with pytest.raises(UserError) as found:
            load_config(tmp_path / "config.toml", [f"learner.{name}={{}}"])
        assert page_for(str(found.value)) == f"{PAGES}#a-setting-is-refused"
