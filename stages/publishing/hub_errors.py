"""Errors of the Hub and its client, as sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stages.core.errors import UserError
from stages.core.redaction import redact

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

_FIXES = {
    401: "the token is not valid (any more); call `hf auth login`",
    403: "give a token with the right to write to it; see your tokens on the Hub",
    404: "there is no such repository that this token may see; correct its name in `publish`",
    409: "another push is under way; try again when it is done",
    412: "somebody else has committed to it meanwhile; look at what, and try again",
    429: "there were too many requests; try again in some minutes",
}


@contextmanager
def translate_hub_errors(name: str) -> Iterator[None]:
    """Raises UserError in place of the client's errors; `name`: the repository that the requests are about."""
    from httpx2 import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield
    except HfHubHTTPError as error:
        raise UserError(_http_sentence(name, error)) from None
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, and nothing can be pushed; unset it") from None
    except (HTTPError, ConnectionError) as error:
        raise UserError(_connection_sentence(name, error)) from None
    except RuntimeError as error:  # raised by the client where an upload failed
        if isinstance(error.__cause__, HfHubHTTPError):
            raise UserError(_http_sentence(name, error.__cause__)) from None
        raise UserError(_connection_sentence(name, error.__cause__ or error)) from None
    except UnicodeEncodeError:
        raise UserError("the token for the Hub is not ASCII; call `hf auth login` with a token of the Hub's") from None


def _connection_sentence(name: str, error: BaseException) -> str:
    reason = " ".join(redact(str(error)).split()) or type(error).__name__
    problem = f"{name}: the connection was cut, or the Hub cannot be reached ({reason})"
    return f"{problem}; a version is one commit, so none was made by halves: run it again"


def _http_sentence(name: str, error: "HfHubHTTPError") -> str:
    status = error.response.status_code
    message = " ".join(redact(error.server_message or "").split())
    fix = _FIXES.get(status, "correct it in `publish`" if status < 500 else "try again later")
    return f"{name}: the Hub answers {status}{f' ({message})' if message else ''}; {fix}"
