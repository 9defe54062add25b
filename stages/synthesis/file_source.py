"""Items from a file that others made: questions with SQL, with schema and rows, or with databases beside the file.

The keys are those in use: `question`; `sql`, `query`, `gold_sql` or `SQL`; `domain`; `db_id`; `schema` (CREATE TABLE
statements, as one text or a list); `rows` (table to rows). Without a `schema` the database is
`databases/<db_id>/<db_id>.sqlite` beside the file, as SynSQL-2.5M ships them; its `external_knowledge` is the evidence.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stages.core.errors import UserError, short
from stages.core.files import fingerprint
from stages.core.user_files import JSONL, json_lines, json_value, refuse
from stages.corpora.source_databases import find_database, place_database, source_database_problem
from stages.databases.paths import database_path
from stages.sql.text import statements
from stages.synthesis.answers import DatabaseDraft
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.items import Item, SyntheticDatabase, open_database

NAMES = ("data.jsonl", "data.json")
"""The names of a file, in its folder of data/raw."""
_SQL_KEYS = ("sql", "query", "gold_sql", "SQL")
_CREATED = re.compile(r"""CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?("[^"]+"|`[^`]+`|\[[^\]]+\]|[\w$]+)""", re.I)

Entry = Mapping[str, Any]


class FileSource:
    """The entries of the file in `folder`, in their order. `refused`: entries that gave no item, by reason.

    Raises UserError with a sentence for each line that is no JSON object, and where the file is missing or has none.
    """

    def __init__(self, folder: Path, maker: DatabaseMaker) -> None:
        self.refused: Counter[str] = Counter()
        self._folder, self._maker = folder, maker
        self._entries = read_entries(folder)
        self._databases: dict[str, SyntheticDatabase | None] = {}
        self._taken = 0

    def next_items(self, count: int) -> list[Item]:
        """The items of the next `count` entries."""
        entries = list(enumerate(self._entries[self._taken : self._taken + count], self._taken))
        self._taken += len(entries)
        usable = [(number, entry) for number, entry in entries if self._is_complete(entry)]
        self._add_databases([entry for _, entry in usable])
        items = []
        for number, entry in usable:
            database = self._databases[_database_key(entry)]
            if database is None:
                self.refused["no_database"] += 1
                continue
            evidence = entry.get("external_knowledge") or entry.get("evidence") or ""
            question = str(entry["question"]).strip()
            items.append(Item(
                f"strong/file/{number:06d}", database, question, _sql(entry).strip(), evidence=str(evidence).strip(),
            ))  # fmt: skip
        return items

    def ended_by(self) -> str:
        """`file` once all entries are taken."""
        return "file" if self._taken == len(self._entries) else ""

    def _is_complete(self, entry: Entry) -> bool:
        complete = isinstance(entry.get("question"), str) and bool(entry["question"].strip() and _sql(entry).strip())
        self.refused["wrong_form"] += not complete
        return complete

    def _add_databases(self, entries: Sequence[Entry]) -> None:
        """Builds or copies the databases that are new."""
        new = {key: entry for entry in entries if (key := _database_key(entry)) not in self._databases}
        drafts: list[tuple[str, str, DatabaseDraft]] = []
        ids: dict[str, str] = {}
        for key, entry in new.items():
            self._databases[key] = None
            domain = _domain(entry)
            ids[f"strong_{domain}_{len(self._databases):06d}"] = key
            db_id = list(ids)[-1]
            if not entry.get("schema"):
                self._databases[key] = self._copied(str(entry.get("db_id")), db_id, domain)
            elif draft := _draft(entry):
                drafts.append((db_id, domain, draft))
            else:
                self._maker.counts["wrong_form"] += 1
        for database in self._maker.add(drafts) if drafts else ():
            self._databases[ids[database.db_id]] = database

    def _copied(self, name: str, db_id: str, domain: str) -> SyntheticDatabase | None:
        path = find_database([self._folder / "databases"], name) if re.fullmatch(r"[\w .-]+", name) else None
        if path is None or source_database_problem(path):
            self._maker.counts["no_database" if path is None else "unreadable"] += 1
            return None
        place_database(path, db_id, self._maker.folder)
        return open_database(db_id, domain, database_path(self._maker.folder, db_id))


def read_entries(folder: Path) -> list[Entry]:
    """The entries of the file in a folder. Raises UserError."""
    path = next((folder / name for name in NAMES if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder} has neither {' nor '.join(NAMES)}; put the file there, or correct `synthesize.file`")
    if path.suffix in JSONL:
        errors: list[str] = []
        entries: list[Entry] = [entry for _, entry in json_lines(path, errors)]
        refuse(path, errors)
    else:
        value = json_value(path)
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise UserError(f"{path} is no list of objects but {short(value)}; give one object for each question")
        entries = value
    if not entries:
        raise UserError(f"{path} has no entry; give one object for each question")
    return entries


def _sql(entry: Entry) -> str:
    return next((value for key in _SQL_KEYS if isinstance(value := entry.get(key), str)), "")


def _domain(entry: Entry) -> str:
    text = str(entry.get("domain") or entry.get("db_id") or "file").lower()
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")[:40] or "file"


def _database_key(entry: Entry) -> str:
    """What entries about one database have in common."""
    if schema := entry.get("schema"):
        return fingerprint("schema", schema, entry.get("rows"))
    return f"db_id/{entry.get('db_id')}"


def _draft(entry: Entry) -> DatabaseDraft | None:
    """The database of an entry with schema and rows; None if they have another form."""
    schema, rows = entry["schema"], entry.get("rows") or {}
    texts = schema if isinstance(schema, list) else [schema]
    if not isinstance(rows, dict) or not all(isinstance(text, str) for text in texts):
        return None
    tables = [{"name": name, "create": text, "rows": rows.get(name, [])} for name, text in _tables(texts)]
    try:
        return DatabaseDraft.model_validate({"tables": tables})
    except ValidationError:
        return None


def _tables(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and text of each statement; one that creates no table has the name of none, and is refused later."""
    for text in texts:
        for statement in statements(text):
            match = _CREATED.search(statement)
            yield (match[1].strip('"`[]') if match else "-"), statement.strip()
