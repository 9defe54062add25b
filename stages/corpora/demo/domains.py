"""Reads the domains, the subjects of databases, from `domains/*.yaml`. README.md explains the keys."""

from collections import Counter
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Self

import apsw
from pydantic import AfterValidator, Field, model_validator

from stages.core.errors import UserError, collect_errors
from stages.core.params import Params
from stages.corpora.demo.content import read_content

FOLDER = Path(__file__).with_name("domains")
MIN_LABELS = 12
"""Fewest values in the pool of a unique column. A table has no more rows than its unique columns have values."""
_SNAKE = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"


def _check_name(name: str) -> str:
    if name.partition("/")[0].upper() in apsw.keywords or name.endswith("_id"):
        raise ValueError(f"{name!r} is an SQL keyword or the name of a key; choose another")
    return name


Name = Annotated[str, Field(pattern=f"^{_SNAKE}$"), AfterValidator(_check_name)]
TableName = Annotated[str, Field(pattern=f"^{_SNAKE}(/{_SNAKE})?$"), AfterValidator(_check_name)]
Value = Annotated[str, Field(pattern=r"""^[^\s'"%]+( [^\s'"%]+)*$""")]
"""A text that questions and SQL write the same way: single spaces, no quotes, no `%`."""


class Column(Params):
    """A column that is not a key: its possible names and the source of its values."""

    name: list[Name] = Field(min_length=1)
    pool: str | None = None
    whole: list[int] | None = Field(None, alias="int", min_length=2, max_length=2)
    real: list[float] | None = Field(None, min_length=2, max_length=2)
    unique: bool = False
    nulls: bool = False
    optional: bool = False
    high: str | None = None
    low: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        bounds = self.whole or self.real
        if sum(source is not None for source in (self.pool, self.whole, self.real)) != 1:
            raise ValueError(f"column {self.name[0]} needs exactly one of pool, int, real")
        if bounds and bounds[0] >= bounds[1]:
            raise ValueError(f"column {self.name[0]} has the range {bounds}; put the smaller number first")
        if self.pool and (self.high or self.low):
            raise ValueError(f"column {self.name[0]} has a pool; only numbers take `high` and `low`")
        return self


class Table(Params):
    """A table: its possible names, its parents (first name of the parent to the words of the relation), its columns."""

    table: list[TableName] = Field(min_length=1)
    belongs_to: dict[str, str] = Field({})
    columns: list[Column] = Field(min_length=1)

    @property
    def key(self) -> str:
        """The first name, by which `belongs_to` of other tables refers to the table."""
        return self.table[0].partition("/")[0]

    @property
    def labelled(self) -> bool:
        """Whether the first column names the rows."""
        return self.columns[0].unique and self.columns[0].pool is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse_repeats(f"table {self.key}: column name", (name for column in self.columns for name in column.name))
        for word in ("high", "low"):
            words = [getattr(column, word) for column in self.columns]
            _refuse_repeats(f"table {self.key}: `{word}`", filter(None, words))
        if not self.labelled and len(self.belongs_to) < 2:
            raise ValueError(f"table {self.key} needs a first column with a pool and `unique: true`, or two parents")
        if self.labelled and (self.columns[0].nulls or self.columns[0].optional):
            raise ValueError(f"the label of table {self.key} can be neither `nulls` nor `optional`")
        return self


class Domain(Params):
    """One domain file."""

    domain: Name
    pools: dict[str, list[Value]]
    tables: list[Table] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse_repeats("table name", (name.partition("/")[0] for table in self.tables for name in table.table))
        tables = {name.partition("/")[0] for table in self.tables for name in table.table}
        for table in self.tables:
            for column in table.columns:
                if clash := sorted(tables & set(column.name)):
                    raise ValueError(f"{clash[0]!r} is a table and a column of {table.key}; rename one of them")
                self._check_pool(table, column)
        self._check_relations()
        return self

    def _check_pool(self, table: Table, column: Column) -> None:
        if column.pool is None:
            return
        if column.pool not in self.pools:
            raise ValueError(f"table {table.key}, column {column.name[0]}: there is no pool {column.pool!r}")
        values = self.pools[column.pool]
        _refuse_repeats(f"pool {column.pool}: value", values)
        minimum = MIN_LABELS if column.unique else 3
        if len(values) < minimum:
            raise ValueError(f"pool {column.pool} has {len(values)} values; column {column.name[0]} needs {minimum}")

    def _check_relations(self) -> None:
        graph = {table.key: table.belongs_to for table in self.tables}
        for table in self.tables:
            for parent in table.belongs_to:
                if parent not in graph:
                    raise ValueError(f"table {table.key} belongs to {parent!r}, which is no table's first name")
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            raise ValueError(f"the tables {', '.join(error.args[1])} belong to each other in a circle") from None


def _refuse_repeats(what: str, names: Iterable[str]) -> None:
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise ValueError(f"{what} {repeated!r} stands twice")


def read_domains(folder: Path = FOLDER) -> list[Domain]:
    """Reads all domains of a folder, sorted by name. Raises UserError with the mistakes of all files."""
    domains: list[Domain] = []
    mistakes: list[str] = []
    for path in sorted(path for path in folder.glob("*.yaml") if not path.name.startswith(".")):
        with collect_errors(mistakes):
            domain = read_content(path, Domain)
            if domain.domain != path.stem:
                mistakes.append(f"{path}: `domain` is {domain.domain!r}; it must be the file's name, {path.stem!r}")
            domains.append(domain)
    if mistakes:
        raise UserError(*mistakes)
    return domains
