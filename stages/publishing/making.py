"""What every card tells of a version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.publishing.licences import Origin
from stages.publishing.release import Release


@dataclass(frozen=True, slots=True)
class Making:
    """`version`; `dataset`: its repository; `code`: address of the git repository, if there is one to name; `release`:
    None until it is pushed; `sections`: those of params.yaml; `origins`: the sources of questions; `bases`: role to
    the Hub model that it starts from."""

    version: str
    dataset: str
    code: str | None
    release: Release | None
    sections: Mapping[str, Any]
    origins: list[Origin]
    bases: Mapping[str, Origin]

    def facts(self) -> dict[str, Any]:
        return {"version": self.version, "dataset": self.dataset, "code": self.code, "release": self.release}
