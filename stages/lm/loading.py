"""Models and tokenizers from a folder or the Hub: safetensors only, none of their code is run, mistakes are told."""

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
_TAKEN = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
_LEFT = ["*/*", "consolidated*"]  # other formats, and second copies of the weights
# What transformers fails with where a file is broken, or of a newer release than it knows.
_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
_SHOWN = 300  # characters of a reason


def load_model(
    source: str | Path, revision: str | None = None, dtype: "torch.dtype | None" = None
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A causal model and its tokenizer, whose pad token is the end token where it has none of its own.

    `source` and `revision`: as for `model_folder`. `dtype`: of the weights; None = as they were saved. Raises UserError
    where it cannot be loaded whole, brings code of its own, or has no end token.
    """
    from transformers import AutoModelForCausalLM

    folder = model_folder(source, revision)
    tokenizer = load_tokenizer(folder, source)
    with _loading(source):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, dtype=dtype or "auto", output_loading_info=True
        )
    model, told = loaded
    if told["missing_keys"]:
        some = ", ".join(sorted(told["missing_keys"])[:3])
        raise UserError(f"the weights of the model `{source}` are not whole: {some} … are missing; get it again")
    return model, tokenizer


def load_tokenizer(folder: Path, source: str | Path | None = None) -> "PreTrainedTokenizerBase":
    """The tokenizer of the model in a folder, whose pad token is the end token where it has none of its own.

    `source`: what the user calls the model, if not by its folder. Raises UserError where it cannot be loaded, brings
    code of its own, has words that the model does not know, or no end token that it does.
    """
    from transformers import AutoConfig

    with _loading(source or folder):
        embeddings = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().vocab_size
        tokenizer = _tokenizer(folder)
    _give_pad_token(source or folder, tokenizer, embeddings)
    _check_words(source or folder, tokenizer, embeddings)
    return tokenizer


def model_folder(source: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: `source` itself, or where its files lie that were downloaded from the Hub, if it is an id
    there and no folder; that is named by its commit.

    `revision`: commit, branch or tag of a Hub id; a folder has none. Raises UserError where there is no such model,
    it may not be read, or its files are not those of a model in safetensors.
    """
    folder = Path(source) if Path(source).is_dir() else _downloaded(str(source), revision)
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


def context_of(model: "PreTrainedModel") -> int:
    """The most tokens that a model can see; without end where its config tells of none."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def _downloaded(name: str, revision: str | None) -> Path:
    from httpx2 import HTTPError
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if problem := user_info_problem("HF_ENDPOINT", constants.ENDPOINT):
        raise UserError(problem)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_TAKEN, ignore_patterns=_LEFT))
    except HFValidationError:
        told = f"`{name}` is no folder, and no Hub id (owner/name); correct it, or make the folder with `dvc repro`"
    except GatedRepoError:
        told = f"the model `{name}` is gated; accept its licence on its page on the Hub, then {_LOG_IN}"
    except RepositoryNotFoundError:
        told = f"`{name}` is no folder, and no model on the Hub; correct it, or {_LOG_IN} if the model is private"
    except RevisionNotFoundError:
        told = f"the model `{name}` has no revision `{revision}`; give a commit, branch or tag from its page on the Hub"
    except (HTTPError, OSError) as error:
        told = _why_not_downloaded(name, error)
    raise UserError(told)


def _why_not_downloaded(name: str, error: Exception) -> str:
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, IncompleteSnapshotError, LocalEntryNotFoundError

    if isinstance(error, HfHubHTTPError):
        return f"the model `{name}` cannot be downloaded (the Hub answers {error.response.status_code}); try later"
    if isinstance(error, LocalEntryNotFoundError | IncompleteSnapshotError):
        told = f"`{name}` is no folder, and no model that the Hub's cache on this machine has whole"
        if is_offline_mode():
            return f"{told}, and HF_HUB_OFFLINE is set; correct it, or unset that to download the model"
        return f"{told}, and the Hub cannot be reached; connect, or give the folder of a model"
    return f"the model `{name}` cannot be downloaded ({' '.join(redact(str(error)).split())})"


def _tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    try:
        read: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return read
    except Exception as error:
        if type(error) is Exception:  # tokenizers has no class of its own
            raise ValueError(f"tokenizer.json: {error}") from None
        raise


@contextmanager
def _loading(source: str | Path) -> Iterator[None]:
    """Raises UserError where the files of a model are not what transformers takes them for."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (*_FAILURES, SafetensorError, StrictDataclassError) as error:
        raise UserError(_why_not_loaded(source, f"{type(error).__name__}: {error}")) from None


def _why_not_loaded(source: str | Path, told: str) -> str:
    reason = " ".join(told.split())
    if "trust_remote_code" in reason:
        return f"the model `{source}` brings code of its own, which is never run; choose one that transformers knows"
    shown = reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}…"
    return f"the model `{source}` cannot be loaded ({shown}); get it again, update transformers, or choose another"


def _check_words(source: str | Path, tokenizer: "PreTrainedTokenizerBase", embeddings: int) -> None:
    """Special tokens without an embedding are common (Llama 2's `<pad>`, Gemma 3's images), and no text has them; any
    other comes out of a prompt."""
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = (word for word, number in tokenizer.get_vocab().items() if number >= embeddings and number not in special)
    if word := next(beyond, None):
        raise UserError(_why_not_loaded(source, f"its tokenizer knows `{word}`, its {embeddings} embeddings do not"))


def _give_pad_token(source: str | Path, tokenizer: "PreTrainedTokenizerBase", embeddings: int) -> None:
    """Some tokenizers have a pad token that was added after training, for which the model has no embedding."""
    if tokenizer.eos_token_id is None or tokenizer.eos_token_id >= embeddings:
        fix = "name the token that it ends an answer with as `eos_token` in its tokenizer_config.json"
        raise UserError(f"the tokenizer of `{source}` has no end token that the model knows, so no answer ends; {fix}")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= embeddings:
        tokenizer.pad_token = tokenizer.eos_token
