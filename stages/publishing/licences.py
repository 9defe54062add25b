"""The licences of sources and models, and whether what is made of them may be published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stages.core.params import read_sections
from stages.fetching.sources import read_sources

DEMO = "demo"
STRONG = "strong"
"""The source of strong data, beside those of questions."""
OURS = "apache-2.0"
OTHER = "other"
HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of questions, or a model. `licence`: its name on the Hub, `other` where it is not known; `published`:
    whether what is made of it may be passed on; `revision`: of a model; `licensed_as`: its name in `publish.licences`,
    if that is another one."""

    name: str
    title: str
    url: str
    licence: str
    published: bool
    citation: str = ""
    revision: str = ""
    licensed_as: str = ""


def origins_of(names: Sequence[str], sources_file: Path, licences: Mapping[str, str]) -> list[Origin]:
    """The sources of questions of these names, in their order.

    `sources_file`: sources.yaml; `licences`: `publish.licences`. A user's own source may be passed on if these have its
    licence.
    """
    known = read_sources(sources_file, [])
    origins = []
    for name in names:
        if name == DEMO:
            origins.append(Origin(name, "The demo corpus, generated", "", OURS, True))
        elif name in known:
            source = known[name]
            licence = source.licence.lower()
            origins.append(Origin(name, source.title, source.homepage, licence, source.redistribution, source.citation))
        else:
            origins.append(Origin(name, f"{name}, a source of the publisher's own", "", *_licence_of(name, licences)))
    return origins


def strong_origin(params: Mapping[str, object], models: Path, licences: Mapping[str, str]) -> Origin:
    """Where strong data comes from: `params` are section `synthesize`, `models` the folder of endpoint files."""
    if params["source"] == DEMO:
        return Origin(STRONG, "Strong data, made up by the generator of the demo corpus", "", OURS, True)
    if params["source"] == "file":
        name = str(params["file"])
        return Origin(STRONG, f"Strong data of the file {name}", "", *_licence_of(name, licences), licensed_as=name)
    model = sampler_of(models / str(params["endpoint"]), licences)
    title = f"Strong data, made up by {model.title}"
    return Origin(STRONG, title, "", model.licence, model.published, licensed_as=model.name)


def bases_of(trainings: Mapping[str, Mapping[str, object]], licences: Mapping[str, str]) -> dict[str, Origin]:
    """Role in section `train_sft` to the Hub model that it starts from; a role that starts from scratch is left out."""
    return {
        role: model_of(str(training["base"]), str(training["revision"]), f"{HUB}/{training['base']}", licences)
        for role, training in trainings.items()
        if training["base"] != "scratch"
    }


def sampler_of(endpoint_file: Path, licences: Mapping[str, str]) -> Origin:
    """The model that a file in models/endpoints names; stage `candidates` has checked the file."""
    endpoint = cast(dict[str, str], read_sections(endpoint_file)["endpoint"])
    return model_of(endpoint["model"], endpoint["version"], "", licences)


def model_of(name: str, revision: str, url: str, licences: Mapping[str, str]) -> Origin:
    """A model with its licence."""
    licence, published = _licence_of(name, licences)
    return Origin(name, f"{name} at {revision}", url, licence, published, revision=revision)


def licence_errors(
    licences: Mapping[str, str], origins: Sequence[Origin], models: Sequence[Origin], bases: Sequence[Origin]
) -> list[str]:
    """A sentence for each licence that `publish.licences` lacks or names in vain. `models`: those whose licence applies
    to what is published; `bases`: all that are trained from."""
    errors = [
        f"`publish.licences` does not name the licence of the model {name}; add it as the Hub spells it"
        for name in sorted({model.name for model in models if not model.published})
    ]
    if not any(origin.published for origin in origins):
        sources = ", ".join(origin.name for origin in origins)
        errors.append(f"none of {sources} may be passed on; name their licences in `publish.licences`")
    used = {origin.licensed_as or origin.name for origin in [*origins, *models, *bases]}
    known = {origin.name for origin in origins if origin.name in (DEMO, STRONG) or origin.citation}
    return errors + [
        f"`publish.licences` names {name}, whose licence is known; remove it" if name in known else
        f"`publish.licences` names {name}, which is no source of the questions and no model here; correct or remove it"
        for name in licences if name in known or name not in used
    ]  # fmt: skip


def _licence_of(name: str, licences: Mapping[str, str]) -> tuple[str, bool]:
    """Its licence, and whether that is known."""
    return licences.get(name, OTHER), name in licences
