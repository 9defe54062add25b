"""What a strong model is asked for: domains and SQL concepts, drawn so that none is over-represented."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from stages.core.errors import UserError
from stages.core.files import fingerprint
from stages.core.params import Params
from stages.core.yaml_files import read_yaml

FILE = Path(__file__).with_name("taxonomy.yaml")

Difficulty = Literal["easy", "medium", "hard", "extra"]
T = TypeVar("T")


class Concept(Params):
    """An SQL concept: the difficulties that it may have, and what the model is told of it."""

    difficulties: list[Difficulty] = Field(min_length=1)
    ask: str = Field(min_length=1)


class Taxonomy(Params):
    """The content of `taxonomy.yaml`: areas with their domains, and SQL concepts."""

    areas: dict[str, list[str]] = Field(min_length=1)
    concepts: dict[str, Concept] = Field(min_length=1)

    @property
    def domains(self) -> list[str]:
        """All domains, each once, sorted."""
        return sorted({domain for domains in self.areas.values() for domain in domains})

    @property
    def wishes(self) -> list[tuple[str, Difficulty]]:
        """Every concept with each of its difficulties."""
        return [(name, level) for name, concept in self.concepts.items() for level in concept.difficulties]


def read_taxonomy(path: Path = FILE) -> Taxonomy:
    """Reads the taxonomy. Raises UserError with a sentence for each mistake."""
    try:
        return Taxonomy.model_validate(read_yaml(path, "restore it from the last commit"))
    except ValidationError as error:
        fields = ((".".join(map(str, detail["loc"])), detail["msg"]) for detail in error.errors())
        raise UserError(*(f"{path}: `{field}`: {message}; correct it" for field, message in fields)) from None


def least_used(options: Iterable[T], counts: Mapping[object, int], *seed: object) -> T:
    """The option with the lowest count; among equals, the first by a hash of `seed` and the option."""
    options = list(options)
    fewest = min(counts[option] for option in options)
    return min((each for each in options if counts[each] == fewest), key=lambda option: fingerprint(*seed, option))
