import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from huggingface_hub import constants

from stages import train_sft
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_file, sha256_folder
from stages.core.params import read_params
from stages.core.tables import write_dataset
from stages.datasets.sft import SFT
from stages.train_sft import TrainSftParams, main
from tests.workplace import put, set_arguments, write_params

PARAMS: dict[str, Any] = {
    "base": "scratch", "revision": None, "scratch": {"vocab_size": 320, "hidden_size": 32, "layers": 1, "heads": 2},
    "lora": None, "seed": 1, "epochs": 2.0, "batch_size": 16, "micro_batch": None, "learning_rate": 1e-2, "warmup": 0.1,
    "max_length": 128, "loss_on": "all", "packing": False, "precision": "float32", "gradient_checkpointing": False,
    "save_steps": 10,
}  # fmt: skip
MODEL, REPORT, LOG = Path("models/sft/weak"), Path("reports/train_sft/weak.json"), Path("reports/train_sft/weak")
MODEL_FILES = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def params_of(**changed: Any) -> TrainSftParams:
    """The params; `base` may be a folder here, which params.yaml must not name."""
    base = changed.get("base", "scratch")
    known = TrainSftParams.model_validate(PARAMS | changed | {"base": "scratch" if base == "scratch" else "org/model"})
    return known.model_copy(update={"base": base})


def put_in_hub_cache(model: Path, cache: Path) -> None:
    """The model as the Hub's `tests/base` at its tag v1, in the cache of a machine that has no network."""
    folder, commit = cache / "models--tests--base", "0" * 40
    shutil.copytree(model, folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "v1").write_text(commit)


@pytest.fixture
def folder(tmp_path: Path, sft_rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the SFT set, its receipt and params.yaml."""
    monkeypatch.chdir(tmp_path)
    set_arguments(monkeypatch, "train_sft", "--role=weak")
    put("sft", sft_rows)
    configure()
    return tmp_path


def configure(**changed: Any) -> None:
    """Writes params.yaml with these params of the weak model."""
    write_params(train_sft={"weak": PARAMS | changed})


def outputs() -> list[str]:
    """Hashes of the model, the report and the curves."""
    return [sha256_folder(MODEL), sha256_file(REPORT), sha256_folder(LOG)]


def curve(name: str = "loss") -> pl.DataFrame:
    """The logged steps of one metric, from the file that `dvc plots` reads."""
    return pl.read_csv(LOG / "plots" / "metrics" / f"{name}.tsv", separator="\t")


def longer(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """The rows with `count` prompts of 300 words and more."""
    return rows.with_row_index("at").with_columns(
        prompt=pl.when(pl.col("at") < count).then(pl.col("prompt") + "very " * 300).otherwise("prompt")
    ).drop("at")


def test_the_model_folder_holds_safetensors_tokenizer_and_configs_only(folder: Path) -> None:
    main()
    assert {path.name for path in MODEL.rglob("*")} == MODEL_FILES
    assert list(MODEL.parent.iterdir()) == [MODEL]


def test_the_same_data_and_params_give_the_same_bytes(folder: Path) -> None:
    main()
    first = outputs()
    main()
    assert outputs() == first


def test_another_seed_gives_another_model(folder: Path) -> None:
    main()
    first = sha256_folder(MODEL)
    configure(seed=2)
    main()
    assert sha256_folder(MODEL) != first


def test_the_report_and_the_curve_tell_of_the_training(folder: Path) -> None:
    main()
    report, loss = read_json(REPORT), curve()
    assert {name: report[name] for name in ("in", "trained_on", "dropped", "steps")} == {
        "in": 96, "trained_on": 96, "dropped": {"longer_than_max_length": 0}, "steps": 12,
    }  # fmt: skip
    assert loss["step"].to_list() == [1, 10, 12]
    assert loss["loss"][0] > loss["loss"][1] > loss["loss"][2]
    assert loss["loss"].to_list()[::2] == pytest.approx([report["first_loss"], report["last_loss"]], abs=1e-4)


def test_a_training_shorter_than_a_logged_window_tells_of_its_last_step_too(folder: Path) -> None:
    configure(epochs=1.0)
    main()
    report = read_json(REPORT)
    assert report["steps"] == 6 and curve()["step"].to_list() == [1, 6]
    assert report["last_loss"] < report["first_loss"]


def test_rows_longer_than_max_length_are_left_out_and_counted(folder: Path, sft_rows: pl.DataFrame) -> None:
    put("sft", longer(sft_rows, 5))
    main()
    report = read_json(REPORT)
    assert (report["trained_on"], report["dropped"]) == (91, {"longer_than_max_length": 5})


def test_a_set_of_longer_rows_alone_is_refused(folder: Path) -> None:
    configure(max_length=10)
    with pytest.raises(UserError, match="no row of the SFT set has at most 10 tokens; raise `max_length`"):
        main()
    assert not MODEL.exists()


def test_a_base_with_a_revision_is_loaded_and_trained_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main()
    MODEL.rename("base")
    weights = read_json(REPORT)["weights"]
    last = curve()["loss"][-1]
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    put_in_hub_cache(folder / "base", folder / "hub")
    configure(base="tests/base", revision="v1", scratch=None)
    main()
    assert read_json(REPORT)["weights"] == weights
    assert curve()["loss"][0] < last + 0.5
    assert sha256_folder(MODEL) != sha256_folder(folder / "base")


def test_a_base_that_is_nowhere_is_named(folder: Path) -> None:
    configure(base="nobody/nothing", revision="v1", scratch=None)
    with pytest.raises(UserError, match="`nobody/nothing` is no folder, and no model"):
        main()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"scratch": None}, "`train_sft.weak.scratch` is None; give vocab_size, hidden_size, layers and heads"),
        ({"base": "org/model", "scratch": None}, "`train_sft.weak.revision` is None; give the commit or tag"),
        ({"revision": "v1"}, "`train_sft.weak.revision` is 'v1'; give null, as `base` is scratch"),
        ({"base": "org/model", "revision": "v1"}, "; give null, as `base` is org/model"),
        ({"base": "models", "revision": "v1", "scratch": None}, "`train_sft.weak.base` is 'models'; it is a folder"),
        (
            {"scratch": PARAMS["scratch"] | {"heads": 3}},
            "`train_sft.weak.scratch.heads` is 3; give a number that divides half of `hidden_size`",
        ),
        ({"save_steps": 25}, "`train_sft.weak.save_steps` is 25; input should be a multiple of 10"),
        ({"micro_batch": 5}, "`train_sft.weak.micro_batch` is 5; give a number that divides `batch_size`, which is 16"),
        ({"seed": 2**32}, "`train_sft.weak.seed` is 4294967296; input should be less than 4294967296"),
        ({"epochs": float("inf")}, "`train_sft.weak.epochs` is inf; input should be a finite number"),
        ({"warmup": float("nan")}, "`train_sft.weak.warmup` is nan; input should be a finite number"),
    ],
)
def test_what_would_fail_or_be_ignored_later_is_refused(changed: dict[str, Any], sentence: str, folder: Path) -> None:
    (folder / "models").mkdir()
    configure(**changed)
    with pytest.raises(UserError) as caught:
        read_params("train_sft.weak", TrainSftParams)
    assert len(caught.value.sentences) == 1
    assert sentence in caught.value.sentences[0]


def test_a_set_that_changed_after_validation_trains_nothing(folder: Path, sft_rows: pl.DataFrame) -> None:
    write_dataset(sft_rows.head(90), SFT)
    with pytest.raises(UserError, match=r"sft.parquet has changed since reports/validation/sft.json was written"):
        main()
    assert not (folder / "models").exists()


def test_a_killed_training_does_not_go_on_with_other_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main()
    whole = outputs()
    shutil.rmtree("models")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train_sft, "__file__", str(folder / "earlier.py"))
        patch.setattr(train_sft, "save_model", interrupt)
        (folder / "earlier.py").write_text("")
        configure(learning_rate=1e-3)  # stands for an earlier loss; its key is made to know nothing of it
        patch.setattr(TrainSftParams, "model_dump", lambda params: PARAMS)
        main()
    assert list(Path("models/sft/weak.partial").glob("checkpoint-10/whole"))
    configure()
    main()
    assert outputs() == whole


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
