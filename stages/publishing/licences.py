"""Under which licence what is published stands, and what of it may not be published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stages.core.params import read_sections
from stages.fetching.sources import read_sources

DEMO = "demo"
OURS = "apache-2.0"
OTHER = "other"
HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of questions, or a model. `licence`: the Hub's name of it, `other` where it is not known; `published`:
    whether what is made of it may be passed on; `revision`: of a model."""

    name: str
    title: str
    url: str
    licence: str
    published: bool
    citation: str = ""
    revision: str = ""


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
        role: model_of(str(training["base"]), str(training["revision"]), f"{HUB}/{training['base']}", told)
        for role, training in trainings.items()
        if training["base"] != "scratch"
    }


def sampler_of(endpoint: Path, told: Mapping[str, str]) -> Origin:
    """The model that a file in models/endpoints names; `candidates` has read it."""
    there = cast(dict[str, str], read_sections(endpoint)["endpoint"])
    return model_of(there["model"], there["version"], "", told)


def model_of(name: str, revision: str, url: str, told: Mapping[str, str]) -> Origin:
    """A model with its licence."""
    licence, published = _told(name, told)
    return Origin(name, f"{name} at {revision}", url, licence, published, revision=revision)


def unlicensed(
    told: Mapping[str, str], origins: Sequence[Origin], behind: Sequence[Origin], bases: Sequence[Origin]
) -> list[str]:
    """A sentence for each thing that is wrong with the licences for a push. `behind`: the models that what is published
    is of; `bases`: all that are trained from."""
    wrong = [
        f"`publish.licences` does not name the licence of the model {name}; add it as the Hub spells it"
        for name in sorted({one.name for one in behind if not one.published})
    ]
    if not any(origin.published for origin in origins):
        sources = ", ".join(origin.name for origin in origins)
        wrong.append(f"none of {sources} may be passed on; name their licences in `publish.licences`")
    return wrong + _unused(told, origins, [*behind, *bases])


def _unused(told: Mapping[str, str], origins: Sequence[Origin], models: Sequence[Origin]) -> list[str]:
    own = {origin.name for origin in [*origins, *models]}
    known = {origin.name for origin in origins if origin.name == DEMO or origin.citation}
    return [
        f"`publish.licences` names {name}, whose licence is known; remove it" if name in known else
        f"`publish.licences` names {name}, which is no source of the questions and no model here; correct or remove it"
        for name in told if name in known or name not in own
    ]  # fmt: skip


def _told(name: str, told: Mapping[str, str]) -> tuple[str, bool]:
    return told.get(name, OTHER), name in told
