"""The facts of a version that every card states."""

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
class ReleaseInfo:
    """`version`; `dataset`: its repository; `models`: model to repository; `adapters`: the models that are published as
    adapters; `code`: address of the git repository, if it is to be named; `languages` of the questions; `sections` of
    params.yaml; `origins`: the sources of questions; `bases`: role to the Hub model that it starts from; `sampler`: the
    model at an endpoint that the candidates are from, if they are; `release`: None until it is pushed."""

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

    def candidate_models(self) -> list[Origin]:
        """The models whose licence may apply to the candidates: none, where these were imported."""
        candidates = self.sections["candidates"]
        if candidates["engine"] == "openai":
            return [self.sampler] if self.sampler else []
        base = self.base_of(str(candidates["model"]))
        return [base] if base and candidates["engine"] != "file" else []

    def writers(self) -> dict[Origin, list[str]]:
        """The models whose licence may apply to what they wrote, each with the configs that hold it."""
        configs = {model: ["candidates", "pairs"] for model in self.candidate_models()}
        for base in dict.fromkeys(self.bases.values()) if self.sections["test_sets"] else ():
            configs[base] = [*configs.get(base, []), "answers"]
        return configs

    def base_of(self, model: str) -> Origin | None:
        """The Hub model that a model starts from; None where it starts from scratch."""
        return self.bases.get("strong" if model == "dpo" else model.removeprefix("sft/"))
