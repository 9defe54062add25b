"""The text a model is asked with."""


def render_prompt(ddl: str, question: str, evidence: str) -> str:
    """DDL, evidence (where there is some) and question as one prompt; the completion starts on the next line."""
    hint = f"evidence: {evidence}\n" if evidence else ""
    return f"{ddl}\n{hint}question: {question}\nsql:\n"
