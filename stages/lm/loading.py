"""Loads models and tokenizers from a folder or the Hub: safetensors only, and without running code that they bring."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.errors import UserError
from stages.core.files import parse_json
from stages.core.redaction import redact, user_info_problem

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"
_ALLOWED = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
_IGNORED = ["*/*", "consolidated*"]  # other formats, and second copies of the weights
# The errors of transformers if a file is broken, or of a newer release than it supports.
_LOADING_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
_MAX_REASON = 300  # characters


def load_model(
    source: str | Path, revision: str | None = None, dtype: "torch.dtype | None" = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Loads a causal language model and its tokenizer, whose pad token is the end token if it has none of its own.

    `source` and `revision` are those of `model_folder`. `dtype`: of the weights; None keeps the one they were saved in.
    Raises UserError if weights are missing, the files cannot be loaded or bring code, or there is no end token.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    folder = model_folder(source, revision)
    disable_progress_bar()  # of shards and weights; after the download, whose bar it disables too
    tokenizer = load_tokenizer(folder, source)
    with _loading_errors(source):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, dtype=dtype or "auto", output_loading_info=True
        )
    model, loading_info = loaded
    if loading_info["missing_keys"]:
        examples = ", ".join(sorted(loading_info["missing_keys"])[:3])
        raise UserError(f"the weights of the model `{source}` are not whole: {examples} … are missing; get it again")
    return model, tokenizer


def load_tokenizer(folder: Path, source: str | Path | None = None) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer of the model in a folder. Its pad token is the end token if it has none of its own.

    `source`: the user's name for the model, for messages; by default the folder. Raises UserError if the tokenizer
    cannot be loaded or brings code, or if the model has no embedding for one of its words or for its end token.
    """
    from transformers import AutoConfig

    source = source or folder
    with _loading_errors(source):
        embeddings = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().vocab_size
        tokenizer = _read_tokenizer(folder)
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= embeddings:
        fix = "name the token that it ends an answer with as `eos_token` in its tokenizer_config.json"
        raise UserError(f"the tokenizer of `{source}` has no end token that the model knows, so no answer ends; {fix}")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= embeddings:  # it may be added later, unembedded
        tokenizer.pad_token = tokenizer.eos_token
    # Some special tokens have no embedding (Llama 2's `<pad>`, Gemma 3's images), but no prompt contains them.
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = (word for word, number in tokenizer.get_vocab().items() if number >= embeddings and number not in special)
    if word := next(beyond, None):
        raise UserError(_loading_problem(source, f"its tokenizer knows `{word}`, its {embeddings} embeddings do not"))
    return tokenizer


def model_folder(source: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: `source` itself if it is a folder, else the Hub's cache after downloading it.

    The folder in the cache is named by the model's commit. `revision`: commit, branch or tag of a Hub id; a folder has
    none. Raises UserError if there is no such model, access is denied, or its files are no model in safetensors.
    """
    folder = Path(source) if Path(source).is_dir() else _download(str(source), revision)
    if (folder / "adapter_config.json").exists():
        fix = "merge them into the model they were trained on (`merge_and_unload` of peft) and save that"
        raise UserError(f"`{source}` holds LoRA adapters, not a whole model; {fix}")
    try:
        parse_json((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"`{source}` is no model: there is no config.json; give the folder or Hub id of one") from None
    except ValueError as error:
        raise UserError(f"config.json of the model `{source}` is not JSON ({error}); get the model again") from None
    if not list(folder.glob("*.safetensors")):
        fix = "load it with transformers where you trust it, `save_pretrained` it, and give that folder"
        raise UserError(f"the model `{source}` has no weights in safetensors, and pickled ones can run code; {fix}")
    return folder


def context_length(model: "PreTrainedModel") -> int:
    """The model's context length in tokens; `sys.maxsize` if its config has no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def _download(name: str, revision: str | None) -> Path:
    from httpx2 import HTTPError
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if problem := user_info_problem("HF_ENDPOINT", constants.ENDPOINT):
        raise UserError(problem)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_ALLOWED, ignore_patterns=_IGNORED))
    except HFValidationError:
        problem = f"`{name}` is no folder, and no Hub id (owner/name); correct it, or make the folder with `dvc repro`"
    except GatedRepoError:
        problem = f"the model `{name}` is gated; accept its licence on its page on the Hub, then {_LOG_IN}"
    except RepositoryNotFoundError:
        problem = f"`{name}` is no folder, and no model on the Hub; correct it, or {_LOG_IN} if the model is private"
    except RevisionNotFoundError:
        problem = f"the model `{name}` has no revision `{revision}`; give a commit, branch or tag from its Hub page"
    except (HTTPError, OSError) as error:
        problem = _download_problem(name, error)
    raise UserError(problem)


def _download_problem(name: str, error: Exception) -> str:
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, IncompleteSnapshotError, LocalEntryNotFoundError

    if isinstance(error, HfHubHTTPError):
        return f"the model `{name}` cannot be downloaded (the Hub answers {error.response.status_code}); try later"
    if isinstance(error, LocalEntryNotFoundError | IncompleteSnapshotError):
        problem = f"`{name}` is no folder, and no model that the Hub's cache on this machine has whole"
        if is_offline_mode():
            return f"{problem}, and HF_HUB_OFFLINE is set; correct it, or unset that to download the model"
        return f"{problem}, and the Hub cannot be reached; connect, or give the folder of a model"
    return f"the model `{name}` cannot be downloaded ({' '.join(redact(str(error)).split())})"


def _read_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return tokenizer
    except Exception as error:
        if type(error) is Exception:  # tokenizers raises this base class itself
            raise ValueError(f"tokenizer.json: {error}") from None
        raise


@contextmanager
def _loading_errors(source: str | Path) -> Iterator[None]:
    """Turns the errors of transformers for broken or unsupported files into a UserError."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (*_LOADING_ERRORS, SafetensorError, StrictDataclassError) as error:
        raise UserError(_loading_problem(source, f"{type(error).__name__}: {error}")) from None


def _loading_problem(source: str | Path, message: str) -> str:
    reason = " ".join(message.split())
    if "trust_remote_code" in reason:
        return f"the model `{source}` brings code of its own, which is never run; choose one that transformers knows"
    shown = reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}…"
    return f"the model `{source}` cannot be loaded ({shown}); get it again, update transformers, or choose another"
