"""What every card tells of a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.publishing.licences import Origin


@dataclass(frozen=True, slots=True)
class Release:
    """`commit`: hex id of the tag's commit; `lock`: hex sha256 of its dvc.lock."""

    commit: str
    lock: str


@dataclass(frozen=True, slots=True)
class Making:
    """`version`; `dataset`: its repository; `models`: model to repository; `adapters`: those of them that are published
    as adapters; `code`: address of the git repository, if there is one to name; `languages` of the questions;
    `sections`: those of params.yaml; `origins`: the sources of questions; `bases`: role to the Hub model that it starts
    from; `sampler`: the model at an endpoint that the candidates are from, if they are; `release`: None until it is
    pushed."""

    version: str
    dataset: str
    models: Mapping[str, str]
    adapters: Sequence[str]
    code: str | None
    languages: list[str]
    sections: Mapping[str, Any]
    origins: list[Origin]
    bases: Mapping[str, Origin]
    sampler: Origin | None
    release: Release | None = None

    def facts(self) -> dict[str, Any]:
        return {"version": self.version, "dataset": self.dataset, "code": self.code, "release": self.release}

    def behind_candidates(self) -> list[Origin]:
        """The models whose licence may bear on the candidates: none, where they were imported."""
        asked = self.sections["candidates"]
        if asked["engine"] == "openai":
            return [self.sampler] if self.sampler else []
        base = self.bases.get(str(asked["model"]).removeprefix("sft/"))
        return [base] if base and asked["engine"] != "file" else []

    def behind_models(self) -> list[Origin]:
        """The models that the published ones start from."""
        roles = {"strong" if model == "dpo" else model.removeprefix("sft/") for model in self.models}
        return [self.bases[role] for role in sorted(roles) if role in self.bases]
