"""The text a model is asked with, and the SQL in what it answers."""

import re

_FENCE = re.compile(r"```(?:\w*)\s*\n?(.*?)(?:```|$)", re.DOTALL)


def render_prompt(ddl: str, question: str, evidence: str) -> str:
    """DDL, evidence (where there is some) and question as one prompt; the completion starts on the next line."""
    hint = f"evidence: {evidence}\n" if evidence else ""
    return f"{ddl}\n{hint}question: {question}\nsql:\n"


def extract_sql(completion: str) -> str:
    """The SQL in a completion: the first code fence if there is one, else the whole text; trimmed. Empty if none."""
    fenced = _FENCE.search(completion)
    return (fenced.group(1) if fenced else completion).strip()
