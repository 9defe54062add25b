"""Types of values in section `publish` of params.yaml: repositories, models, licences and languages."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

NOBODY = "OWNER"
"""The owner in params.yaml until a user sets one; nothing is pushed to it."""


def _repository(name: str) -> str:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in its __all__

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise PydanticCustomError("name", "{reason}", {"reason": " ".join(str(error).split())}) from None
    if "/" not in name:
        raise PydanticCustomError("name", "give owner/name")
    return name


Repository = Annotated[str, AfterValidator(_repository)]
Model = Literal["sft/weak", "sft/strong", "dpo"]
Licence = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
Language = Annotated[str, Field(pattern="^[a-z]{2,3}$")]
