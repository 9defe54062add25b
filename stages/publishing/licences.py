"""Under which licence what is published stands, and what of it may not be published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.corpora.sources import read_sources

DEMO = "demo"
OURS = "apache-2.0"
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of questions, or a base model. `licence`: the Hub's name of it, `other` where it is not known;
    `published`: whether what is made of it may be passed on."""

    name: str
    title: str
    url: str
    licence: str
    published: bool
    citation: str = ""


def origins_of(names: Sequence[str], known: Path, told: Mapping[str, str]) -> list[Origin]:
    """The sources of questions of these names, in their order.

    `known`: sources.yaml; `told`: `publish.licences`. A user's own source may be passed on if its licence is told.
    """
    fetched = read_sources(known, [])
    found = []
    for name in names:
        if name == DEMO:
            found.append(Origin(name, "The demo corpus, generated", "", OURS, True))
        elif name in fetched:
            source = fetched[name]
            licence = source.licence.lower()
            found.append(Origin(name, source.title, source.homepage, licence, source.redistribution, source.citation))
        else:
            found.append(Origin(name, f"{name}, a source of the publisher's own", "", *_told(name, told)))
    return found


def bases_of(trainings: Mapping[str, Mapping[str, object]], told: Mapping[str, str]) -> dict[str, Origin]:
    """Role to the Hub model that it starts from, of section `train_sft`; a role that starts from scratch has none."""
    return {
        role: Origin(name, f"{name} at {training['revision']}", f"https://huggingface.co/{name}", *_told(name, told))
        for role, training in trainings.items()
        if (name := str(training["base"])) != "scratch"
    }


def _told(name: str, told: Mapping[str, str]) -> tuple[str, bool]:
    return told.get(name, OTHER), name in told
