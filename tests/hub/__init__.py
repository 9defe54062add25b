"""A small Hub on loopback for tests, standard library only: the protocol as far as the real clients use it.

What it has are users, and datasets and models with commits, each a whole set of files; a commit is named by its sha, a
branch or a tag. Large files are in LFS, at an address of their own that downloads are redirected to.

It answers what `stages/` and the commands of the README ask, and nothing else. It has no Xet, so clients need
`HF_HUB_DISABLE_XET=1`, and it does not read the YAML of cards.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_api

from tests.hub.serving import Handler
from tests.hub.state import Fault, Files, Hub, Repository, User
from tests.web import running

__all__ = ["OWNER", "TOKEN", "Fault", "Files", "Hub", "Repository", "User", "environment", "hub_of", "running_hub"]

OWNER, TOKEN = "someone", "hf_secretsecretsecret"

_FILE = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub without users and repositories, while the context lasts."""
    hub = Hub()
    handler = type("OfThis", (Handler,), {"hub": hub})
    with running(handler) as hub.address, running(handler) as hub.storage:
        yield hub


def environment(hub: Hub, home: Path, token: str = "") -> dict[str, str]:
    """That of a process that takes the test Hub for the Hub, and has this token and no other."""
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return {**os.environ, **own, "HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}


@contextmanager
def hub_of(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """A running Hub that this process takes for the Hub, with a cache in `folder` and the token of `someone` to keep.

    Not for `datasets`, which reads the address when it is imported: give it a process of its own.
    """
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setenv("HF_TOKEN", TOKEN)
    with running_hub() as hub:
        hub.user(OWNER, TOKEN)
        own = {
            "ENDPOINT": hub.address, "HUGGINGFACE_CO_URL_TEMPLATE": _FILE.format(hub.address),
            "HF_HUB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
        }  # fmt: skip
        for name, value in own.items():
            patch.setattr(constants, name, value)
        patch.setattr(hf_api.api, "endpoint", hub.address)  # functions such as `create_repo` are methods of this one
        yield hub
