"""Spider's hardness of a query, read from its text by tokens: no schema and no parser are needed.

The rule is that of Spider's evaluation script (`eval_hardness`), quirks included, so that scores per difficulty compare
with published ones. What its parser cannot read (CASE, window functions, arithmetic of aggregates) is counted as a
reader would expect. WITH queries are not part of the rule.
"""

from collections import Counter

from stages.sql.tokens import sql_tokens

_CLAUSES = frozenset(("select", "from", "where", "group", "having", "order", "limit"))
_SET_OPERATORS = frozenset(("intersect", "union", "except"))
_AGGREGATES = frozenset(("max", "min", "count", "sum", "avg"))
_COUNTED = frozenset(("or", "like", "join", ",", "and", "not"))


def hardness(sql: str) -> str:
    """`easy`, `medium`, `hard` or `extra`; `unknown` for what is no SELECT, or has unbalanced parentheses or quotes."""
    tokens = [token for token in sql_tokens(sql) if not token.startswith(("--", "/*"))]
    if tokens[:1] != ["select"] or tokens.count("(") != tokens.count(")") or any(map(_is_open, tokens)):
        return "unknown"
    counts = _counts(tokens)
    clauses = sum(counts[clause, "clause"] > 0 for clause in ("where", "group", "order", "limit"))
    joins = counts["from", "join"] + counts["from", ","]
    words = sum(counts[clause, word] for clause in ("from", "where", "having") for word in ("or", "like"))
    nested = sum(count for (_, word), count in counts.items() if word == "subquery")
    return _level(clauses + joins + words, nested, _others(counts))


def _is_open(token: str) -> bool:
    return token[0] in "'\"`[" and (len(token) == 1 or token[-1] != {"[": "]"}.get(token[0], token[0]))


def _counts(tokens: list[str]) -> Counter[tuple[str, str]]:
    """How often each counted word occurs in each clause of the first SELECT, less what its subqueries hold.

    The rule reads of a compound query (UNION …) the first SELECT only; an ORDER BY after the others is not its own.
    """
    counts: Counter[tuple[str, str]] = Counter()
    clause, depth, hidden, before, between = "select", 0, 0, "", 0
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        depth += (token == "(") - (token == ")")
        if hidden and depth < hidden:
            hidden = 0
        if hidden:
            continue
        if token == "select" and depth:
            hidden = depth
            counts[clause, "table" if clause == "from" and before in ("from", "join", ",") else "subquery"] += 1
        elif depth == 0 and token in _SET_OPERATORS:
            counts["compound", "subquery"] += 1
            break
        elif depth == 0 and token in _CLAUSES:
            clause = token
            counts[clause, "clause"] += 1
        elif token == "between":
            between += 1
        elif token == "and" and between:
            between -= 1  # of `BETWEEN x AND y`, no connector
        elif token in _AGGREGATES and after == "(":
            counts[clause, "aggregate" if clause != "select" or before in ("select", "distinct", ",") else "inner"] += 1
        elif token in _COUNTED and not _unseen(token, before, depth):
            counts[clause, token] += 1
        if token != "(":
            before = token
    return counts


def _unseen(token: str, before: str, depth: int) -> bool:
    """Whether the script overlooks the word: an OR after a comparison with a column is lost in the column's name."""
    if token == "or":
        return before.isidentifier() and before != "null"
    return (token == "," and depth > 0) or (token == "not" and before == "is")


def _others(counts: Counter[tuple[str, str]]) -> int:
    """How many of four hold: several aggregates, selected columns, WHERE conditions, GROUP BY columns.

    The script counts as aggregates also each NOT of WHERE and HAVING, and each AND and OR of HAVING, but not the
    aggregates that HAVING compares.
    """
    aggregates = counts["select", "aggregate"] + counts["group", "aggregate"] + counts["order", "aggregate"]
    aggregates += counts["where", "not"] + counts["having", "not"] + counts["having", "and"] + counts["having", "or"]
    conditions = 1 + counts["where", "and"] + counts["where", "or"]
    return (aggregates > 1) + (counts["select", ","] > 0) + (conditions > 1) + (counts["group", ","] > 0)


def _level(components: int, nested: int, others: int) -> str:
    if nested:
        return "hard" if nested == 1 and components <= 1 and others == 0 else "extra"
    if components <= 1 and others == 0:
        return "easy"
    if (components <= 1 and others <= 2) or (components == 2 and others <= 1):
        return "medium"
    if (components <= 2 and others > 2) or (components == 3 and others <= 2):
        return "hard"
    return "extra"  # two components and two others, too: the script's rule has that gap
