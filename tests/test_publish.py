"""Stage `publish`: the export folder, what is left out of it, and what stops it."""

import errno
import getpass
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, ModelCard

from stages import compare
from stages.core.files import sha256_folder, write_json
from stages.core.layout import DICTIONARY, evaluation_file, model_path, receipt_file, report_file
from stages.datasets.catalog import DATASETS
from stages.publishing.configs import VIEWS, columns_of, features_of, naming_configs
from tests import ROOT
from tests.commands import run_here
from tests.hub import TOKEN
from tests.publishing.workplace import DATASET, FIGURES, MODEL, QUESTIONS, VERSION, Workplace, small_tables
from tests.workplace import put

DEMO = [one for one in QUESTIONS if one.startswith("demo/train")]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return Workplace(tmp_path, monkeypatch)


def licences(card: str) -> list[str]:
    """Those of a dataset's card, as the Hub reads it."""
    return list(DatasetCard(card).data["license"])


# ---- the export ----


@pytest.mark.parametrize("config", VIEWS)
def test_a_config_loads_from_the_folder_with_its_splits_and_features(config: str, workplace: Workplace) -> None:
    report = workplace.run()
    loaded: Any = load_dataset(str(workplace.export / "dataset"), config, cache_dir=str(workplace.folder / "cache"))
    assert {split: part.num_rows for split, part in loaded.items()} == report["rows"][config]
    assert all(part.features == features_of(config) for part in loaded.values())
    assert all(part.column_names == columns_of(config) for part in loaded.values())


def test_the_default_config_is_the_pairs(workplace: Workplace) -> None:
    workplace.run()
    loaded: Any = load_dataset(str(workplace.export / "dataset"), split="train", cache_dir=str(workplace.folder / "c"))
    assert loaded.column_names == columns_of("pairs")


def test_every_candidate_comes_with_its_verdict_and_its_database(workplace: Workplace) -> None:
    workplace.run()
    rows = workplace.rows("candidates").filter(pl.col("question_id") == DEMO[0]).select("sample", "verdict", "db_id")
    assert rows.rows() == [(0, "match", "music"), (1, "mismatch", "music")]


def test_a_gold_comes_with_its_question_and_its_prompt(workplace: Workplace) -> None:
    workplace.run()
    [row] = workplace.rows("gold", "dev").iter_rows(named=True)
    assert (row["question"], row["verdict"]) == ("How many | singers?", "ok")
    assert row["prompt"] == "Prompt of demo/dev/0000\n"


def test_answers_of_all_models_stand_in_the_split_of_their_question(workplace: Workplace) -> None:
    report = workplace.run()
    assert report["rows"]["answers"] == {"dev": 6, "test": 6}  # of three models, a greedy one and a sample each
    rows = workplace.rows("answers", "dev")
    assert rows["model"].unique().sort().to_list() == ["dpo", "sft/strong", "sft/weak"]
    assert rows["test_set"].unique().to_list() == ["demo-dev"] and rows["db_id"].unique().to_list() == ["music"]
    assert "| answers | one greedy one a question and model, and 4 samples at temperature 0.8" in workplace.card
    assert "| `answers/sft/weak-demo-test` | 2 | `" in workplace.card


def test_the_card_names_the_weights_that_answered(workplace: Workplace) -> None:
    workplace.run()
    models = workplace.card.split("The models whose answers are in `answers`:\n\n")[1].split("\n\n")[0].splitlines()
    hashes = {model: sha256_folder(model_path(model)) for model in ("dpo", "sft/strong", "sft/weak")}
    assert models[2:] == [
        f"| `{model}` | `{sha256}` | `demo-dev`, `demo-test` | 2 |" for model, sha256 in hashes.items()
    ]
    assert len(set(hashes.values())) == 3


def test_answers_of_weights_that_are_gone_are_not_exported(workplace: Workplace) -> None:
    shutil.rmtree(model_path("sft/weak"))
    assert workplace.refused() == [
        "models/sft/weak does not exist, but its answers are there; run `dvc repro` to make it"
    ]


def test_the_end_line_has_every_config(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    rows = workplace.run()["rows"]
    counts = ", ".join(f"{config} {sum(splits.values())}" for config, splits in rows.items())
    assert f", {counts}, the cards are in" in capsys.readouterr().out and list(rows) == list(VIEWS)


def test_the_answers_of_an_export_are_compared_like_those_of_a_folder(workplace: Workplace) -> None:
    workplace.run()
    sides = [f"{workplace.export.relative_to(workplace.folder)}/dataset:{model}" for model in ("dpo", "sft/weak")]
    flags = ("--test-set=demo-dev", "--contract=bird", "--json=compare.json")
    done = run_here(compare.main, workplace.folder, *sides, *flags)
    assert done.returncode == 0, done.stderr
    written = json.loads(Path("compare.json").read_text())
    assert (written["questions"], written["both_right"]) == (1, 1)


def test_without_test_sets_there_is_no_config_of_answers(workplace: Workplace) -> None:
    workplace.set("", test_sets=[])
    shutil.rmtree(workplace.folder / "data" / "answers")
    report = workplace.run()
    assert "answers" not in report["rows"] and not (workplace.export / "dataset" / "answers").exists()
    assert "`answers`" not in workplace.card.split("## Limits")[0] and "| answers |" not in workplace.card


def test_rows_are_sorted_by_their_key_and_cut_into_shards(workplace: Workplace) -> None:
    workplace.set("publish", shard_rows=3)
    workplace.run()
    folder = workplace.export / "dataset" / "candidates"
    assert sorted(path.name for path in folder.iterdir()) == [f"train-0000{n}-of-00004.parquet" for n in range(4)]
    keys = [key for path in sorted(folder.iterdir()) for key in pl.read_parquet(path)["candidate_id"]]
    assert keys == sorted(keys) and len(keys) == 10
    assert pq.read_metadata(folder / "train-00000-of-00004.parquet").row_group(0).column(0).compression == "ZSTD"


def test_the_same_inputs_give_the_same_bytes(workplace: Workplace) -> None:
    reports = [workplace.run()]
    first = sha256_folder(workplace.export)
    reports.append(workplace.run())
    assert sha256_folder(workplace.export) == first and reports[0] == reports[1]
    assert not list(workplace.folder.rglob("*.partial"))


def test_no_path_no_name_of_this_machine_and_no_token_is_in_what_is_exported(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    workplace.run()
    files = [*workplace.export.rglob("*.*"), report_file("publish")]
    for secret in (str(workplace.folder), str(Path.home()), socket.gethostname(), TOKEN, f"/{getpass.getuser()}/"):
        assert not [path for path in files if secret.encode() in path.read_bytes()], secret


# ---- licences ----


def test_a_source_of_ones_own_without_a_licence_is_left_out_and_the_card_and_the_report_say_so(
    workplace: Workplace,
) -> None:
    report = workplace.run()
    for config in VIEWS.keys() - {"synthetic", "answers"}:
        assert not workplace.rows(config)["question_id"].str.starts_with("mydata/").any()
    assert report["left_out"] == {
        "mydata": {"pairs": 1, "candidates": 2, "sft": 1, "synthetic": 0, "gold": 1, "answers": 0}
    }
    assert report["rows"]["gold"] == {"train": 5, "dev": 1, "test": 1}
    assert "| mydata, a source of the publisher's own | other | 1 | no: its licence does not let" in workplace.card
    assert "**Left out**, because of their licence: all rows of mydata." in workplace.card
    assert licences(workplace.card) == ["apache-2.0", "cc-by-sa-4.0"]


def test_answers_to_a_source_without_a_licence_are_left_out(workplace: Workplace) -> None:
    workplace.set("", test_sets=["mydata-train", "demo-dev"])
    workplace.put_answers("mydata-train")
    write_json(evaluation_file("dpo", "mydata-train"), FIGURES)
    report = workplace.run()
    assert report["rows"]["answers"] == {"dev": 6} and report["left_out"]["mydata"]["answers"] == 6
    assert workplace.rows("answers", "dev")["question_id"].unique().to_list() == ["demo/dev/0000"]


def test_strong_data_is_published_with_what_was_left_out_and_the_card_says_so(workplace: Workplace) -> None:
    report = workplace.run()
    assert report["rows"]["synthetic"] == {"train": 2}
    assert workplace.rows("synthetic")["refusal"].to_list() == [None, "exec_error"]
    assert "strong" in workplace.rows("sft")["origin"].to_list()
    assert "| strong data | 1 items of demo (seed 1) accepted, 1 left out |" in workplace.card
    assert "| Strong data, made up by the generator of the demo corpus | apache-2.0 | 2 | yes |" in workplace.card


@pytest.mark.parametrize("licence", [None, "mit"])
def test_strong_data_of_a_model_is_published_under_its_licence_or_not_at_all(
    licence: str | None, workplace: Workplace
) -> None:
    file = workplace.folder / "models" / "endpoints" / "big.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("endpoint: {model: owner/big, version: '1'}")
    workplace.set("synthesize", source="endpoint", endpoint="endpoints/big.yaml")
    workplace.set("publish", licences={"owner/big": licence} if licence else {})
    report = workplace.run()
    assert ("synthetic" in report["rows"]) == bool(licence)
    assert ("strong" in workplace.rows("sft")["origin"].to_list()) == bool(licence)
    assert ("mit" in licences(workplace.card)) == bool(licence)


def test_a_source_whose_licence_is_in_params_is_published_under_it(workplace: Workplace) -> None:
    workplace.set("publish", licences={"mydata": "cc0-1.0"})
    report = workplace.run()
    assert report["left_out"] == {} and report["rows"]["pairs"] == {"train": 6}
    assert licences(workplace.card) == ["apache-2.0", "cc-by-sa-4.0", "cc0-1.0"]


def test_a_known_source_that_may_not_be_passed_on_is_left_out(workplace: Workplace) -> None:
    workplace.replace_in_sources("redistribution: true", "redistribution: false", 1)  # Spider's
    report = workplace.run()
    assert set(report["left_out"]) == {"mydata", "spider"}
    assert "Yu18c" not in workplace.card  # not cited either


def test_a_published_source_is_named_with_its_licence_and_cited(workplace: Workplace) -> None:
    workplace.run()
    assert "| [Spider 1.0](https://yale-lily.github.io/spider) | cc-by-sa-4.0 | 1 | yes |" in workplace.card
    assert workplace.card.count("@inproceedings{Yu18c,") == 1


def test_a_base_model_stands_in_the_card_with_its_revision_and_licence(workplace: Workplace) -> None:
    workplace.set("train_sft.weak", base="deepseek-ai/coder", revision="abc", scratch=None)
    workplace.set("publish", licences={"deepseek-ai/coder": "mit"})
    workplace.run()
    assert "- deepseek-ai/coder at abc: mit (`candidates`, `pairs`, `answers`)\n" in workplace.card
    assert "fine-tuned from deepseek-ai/coder at abc" in workplace.card
    assert "mit" in licences(workplace.card)


def test_a_base_model_that_the_candidates_are_not_of_lends_its_licence_to_the_answers_alone(
    workplace: Workplace,
) -> None:
    workplace.set("train_sft.strong", base="meta/llama", revision="abc", scratch=None)
    workplace.set("publish", licences={"meta/llama": "llama2"})
    workplace.run()
    assert "- meta/llama at abc: llama2 (`answers`)\n" in workplace.card
    assert "llama2" in licences(workplace.card)
    workplace.set("", test_sets=[])
    workplace.run()
    assert "llama2" not in workplace.card
    assert ModelCard.load(workplace.export / "models" / "dpo" / "README.md").data["license"] == "llama2"


def test_a_question_that_is_left_out_is_not_named_in_the_findings_of_others(workplace: Workplace) -> None:
    leak, own = "mydata/train/0000 asks the same on the database secret.", "It returns no row."
    findings = json.dumps({"question_in_train": leak, "empty": own})
    dev = pl.col("question_id") == "demo/dev/0000"
    lines = pl.when(dev).then(pl.lit(findings)).otherwise("findings").alias("findings")
    put("gold", small_tables()["gold"].with_columns(lines))
    workplace.run()
    [shown] = workplace.rows("gold", "dev")["findings"]
    assert "secret" not in shown and json.loads(shown)["empty"] == own
    workplace.set("publish", licences={"mydata": "mit"})
    workplace.run()
    assert workplace.rows("gold", "dev")["findings"].to_list() == [findings]


def test_the_model_card_tells_of_data_that_is_left_out_and_links_no_test_set_of_it(workplace: Workplace) -> None:
    workplace.set("", test_sets=["mydata-dev", "demo-dev"])
    workplace.put_answers("mydata-dev")
    write_json(evaluation_file("dpo", "mydata-dev"), FIGURES)
    workplace.run()
    card = ModelCard.load(workplace.export / "models" / "dpo" / "README.md")
    assert "and what is left out there because of its licence: mydata." in card.text
    linked = {one.dataset_name: one.dataset_type for one in card.data.eval_results or []}
    assert linked == {"mydata-dev": "mydata", "demo-dev": DATASET}


def test_where_no_source_may_be_passed_on_the_card_says_that_nothing_is_published(workplace: Workplace) -> None:
    for name, rows in small_tables().items():
        key = "item_id" if name == "synthetic" else "question_id"
        put(name, rows.filter(pl.col(key).str.starts_with("mydata/")))
    report = workplace.run()
    assert report["rows"] == {} and list((workplace.export / "dataset").iterdir()) == [
        workplace.export / "dataset" / "README.md"
    ]
    assert "**Nothing is published:**" in workplace.card and "| SQLite |" not in workplace.card


# ---- the cards ----


def test_the_card_tells_how_it_was_made(workplace: Workplace) -> None:
    workplace.run()
    for fact in (
        "| sampling | 8 a question, temperature 1.0, top_p 1.0, at most 80 tokens, seed 3 |",
        f"| model's version | `weak`, sha256 `{'f' * 64}` |",
        "| comparison | `strict` |",
        "| budget of a query | 1,000,000 SQLite VM steps, or 50 times its gold's, if that is more |",
        "| SQLite | 3.54.1 |",
        "What executing the candidates showed:\n\n| match | mismatch |\n|---|---|\n| 5 | 5 |\n",
        'neg_limit 1, neg_order "random", pos_limit null, counterexamples 8',
        "| git commit | not released",
        "  neg_filter: all",
        f'load_dataset("{DATASET}", "pairs", revision="{VERSION}")',
    ):
        assert fact in workplace.card, fact


def test_of_imported_candidates_the_card_tells_nothing_of_sampling(workplace: Workplace) -> None:
    workplace.set("candidates", engine="file", model="imported")
    workplace.run()
    assert "| candidates | predictions of other systems, imported |" in workplace.card
    assert "temperature 1.0" not in workplace.card and "weak model samples" not in workplace.card
    assert "of one model with the settings above" not in workplace.card


def test_of_an_endpoint_the_card_names_the_model_its_version_and_its_licence(workplace: Workplace) -> None:
    endpoint = {"model": "acme/coder", "version": "2026-01", "api": "chat"}
    write_json(workplace.folder / "models" / "endpoints" / "acme.yaml", {"endpoint": endpoint})  # which is YAML, too
    workplace.set("candidates", engine="openai", model="endpoints/acme.yaml")
    workplace.set("publish", licences={"acme/coder": "mit"})
    workplace.run()
    assert "| candidates | sampled from acme/coder at 2026-01, at an endpoint |" in workplace.card
    assert "- acme/coder at 2026-01: mit" in workplace.card


@pytest.mark.parametrize("config", VIEWS)
def test_the_card_tells_what_each_column_means(config: str, workplace: Workplace) -> None:
    workplace.run()
    part = workplace.card.split(f"### {config}\n")[1].split("\n## ")[0].split("\n### ")[0]
    assert [line.split("`")[1] for line in part.splitlines() if line.startswith("| `")] == columns_of(config)
    assert not set(re.findall(r"as in `(\w+)`", part)) & (DATASETS.keys() - VIEWS.keys())


def test_a_dataset_that_is_no_config_is_referred_to_by_the_config_that_holds_it() -> None:
    assert naming_configs("as in `prompts`; or as in `questions`") == "as in `gold`; or as in `gold`"
    assert naming_configs("as in `exec_results`, `prompts`") == "as in `candidates`, `prompts`"
    assert naming_configs("the domain, as in `bakery`") == "the domain, as in `bakery`"


def test_the_model_card_has_the_figures_in_the_hubs_format_linked_to_the_dataset(workplace: Workplace) -> None:
    workplace.run()
    card = ModelCard.load(workplace.export / "models" / "dpo" / "README.md")
    found = {(one.dataset_name, one.metric_name): one for one in card.data.eval_results or []}
    assert {name for name, _ in found} == {"demo-dev", "demo-test"}
    ex = found["demo-dev", "EX"]
    linked = (ex.dataset_type, ex.dataset_config, ex.dataset_split, ex.dataset_revision)
    assert ex.metric_value == FIGURES["ex"] and linked == (DATASET, "gold", "dev", VERSION)
    assert card.data.datasets == [DATASET] and card.data.license == "apache-2.0"
    assert "| `demo-dev` | 1,088 | 60.0 | 20.0–90.0 | 50.0 | 50.0 | 75.0 | 50.0 |" in card.text
    assert "likelihood displacement" in card.text and "ipo" not in card.text


def test_test_sets_of_the_same_split_stay_apart_in_the_hubs_format(workplace: Workplace) -> None:
    workplace.set("", test_sets=["demo-dev", "spider-dev"])
    workplace.put_answers("spider-dev")
    write_json(evaluation_file("dpo", "spider-dev"), FIGURES | {"ex": 0.7})
    workplace.run()
    results = ModelCard.load(workplace.export / "models" / "dpo" / "README.md").data.eval_results or []
    ex = {result.dataset_name: result.metric_value for result in results if result.metric_name == "EX"}
    assert ex == {"demo-dev": 0.6, "spider-dev": 0.7}


def test_a_template_that_names_an_unknown_fact_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    template = tmp_path / "card.md.jinja"
    template.write_text("# {{ title }} by {{ author }}\n")
    workplace.patch.setattr("stages.publishing.dataset.TEMPLATE", template)
    [sentence] = workplace.refused()
    assert sentence.startswith(f"{template} names an unknown fact ('author' is undefined); the facts are: ")
    assert not workplace.export.exists()


def test_a_template_that_is_no_jinja_is_refused_with_its_line(workplace: Workplace, tmp_path: Path) -> None:
    template = tmp_path / "card.md.jinja"
    template.write_text("# Title\n{% for %}\n")
    workplace.patch.setattr("stages.publishing.models.TEMPLATE", template)
    [sentence] = workplace.refused()
    assert sentence.startswith(f"{template}, line 2, is no Jinja (")


def test_a_column_that_the_data_dictionary_does_not_tell_of_is_named(workplace: Workplace) -> None:
    DICTIONARY.write_text(DICTIONARY.read_text().replace("| `similarity` |", "| `likeness` |"))
    assert workplace.refused() == ["data/README.md does not describe `similarity` of `pairs`; add a row to its tables"]


# ---- what stops it ----


@pytest.mark.parametrize("dataset", small_tables())
def test_a_dataset_that_broke_its_suite_is_not_exported(dataset: str, workplace: Workplace) -> None:
    put(dataset, small_tables()[dataset], valid=False)
    [sentence] = workplace.refused()
    assert f"{dataset}.parquet broke its suite" in sentence
    assert not workplace.export.exists()


def test_a_dataset_without_a_receipt_or_changed_since_is_not_exported(workplace: Workplace) -> None:
    receipt_file("pairs").unlink()
    receipt = receipt_file("gold")
    lines = receipt.read_text()
    put("gold", small_tables()["gold"].head(3))
    receipt.write_text(lines)
    missing, changed = sorted(workplace.refused(), reverse=True)
    assert missing == "reports/validation/pairs.json does not exist; run `dvc repro` to make it"
    assert changed.startswith("data/gold.parquet has changed since reports/validation/gold.json was written")


def test_datasets_that_do_not_belong_together_are_refused(workplace: Workplace) -> None:
    put("exec_results", small_tables()["exec_results"].head(3))
    lines = "`candidates` and `exec_results` do not belong together: 9 rows are in one of them only"
    assert workplace.refused() == [f"{lines}; run `dvc repro` to make both again"]


def test_a_receipt_of_another_dataset_is_none(workplace: Workplace) -> None:
    receipt = receipt_file("pairs")
    receipt.write_text(receipt.read_text().replace('"dataset": "pairs"', '"dataset": "sft"'))
    assert workplace.refused() == [
        "reports/validation/pairs.json is a receipt of `sft`, not of data/pairs.parquet; run `dvc repro`"
    ]


def test_a_full_disk_is_reported_and_what_was_there_stays(workplace: Workplace) -> None:
    workplace.run()
    before = sha256_folder(workplace.export)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    workplace.patch.setattr(pq, "write_table", full)
    [sentence] = workplace.refused()
    assert sentence == "the disk of reports/publish.partial is full; make room and run the same command again"
    assert sha256_folder(workplace.export) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "0.1"}, "`publish.version` is '0.1'; string should match pattern"),
        ({"dataset": "small"}, "`publish.dataset` is 'small'; give owner/name"),
        ({"dataset": "a/b/c"}, "`publish.dataset` is 'a/b/c'; "),
        ({"dataset": "some one/small"}, "`publish.dataset` is 'some one/small'; repo id must use alphanumeric"),
        ({"dataset": "someone/a--b"}, "`publish.dataset` is 'someone/a--b'; "),
        ({"models": {"gpt": "someone/gpt"}}, "`publish.models.gpt"),
        ({"licences": {"mydata": "CC0 1.0"}}, "`publish.licences.mydata` is 'CC0 1.0'; "),
        ({"code": "git@example.org:code"}, "`publish.code` is 'git@example.org:code'; "),
        ({"shard_rows": 0}, "`publish.shard_rows` is 0; "),
        ({"version": "v٣.0.0"}, "`publish.version` is 'v٣.0.0'; "),
        ({"code": "https://me:secret@example.org/x"}, "`publish.code` is 'https://me:secret@example.org/x'; "),
        ({"code": "https://example.org/x|<b>"}, "`publish.code` is 'https://example.org/x|<b>'; "),
        ({"languages": []}, "`publish.languages` is []; "),
        ({"models": {"dpo": MODEL, "sft/weak": MODEL}}, "`publish` is "),
        ({"adapters": ["sft/weak"]}, "`publish` is "),
    ],
)
def test_a_wrong_param_is_reported_by_name(changed: dict[str, Any], message: str, workplace: Workplace) -> None:
    workplace.set("publish", **changed)
    [sentence] = workplace.refused()
    assert sentence.startswith(f"params.yaml: {message}")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "code.py"])
def test_a_model_with_files_that_can_run_code_is_refused(name: str, workplace: Workplace) -> None:
    (workplace.folder / "models" / "dpo" / name).write_bytes(b"x")
    assert workplace.refused() == [
        f"models/dpo has {name}, which is no file of a model as it is published; remove it"
    ]


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors", "."])
def test_a_model_that_is_not_whole_is_refused(gone: str, workplace: Workplace) -> None:
    path = workplace.folder / "models" / "dpo" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert workplace.refused() == ["models/dpo holds no whole model; run `dvc repro` to make it"]


def test_adapters_of_a_model_that_has_none_and_that_belong_to_nothing_are_refused(workplace: Workplace) -> None:
    workplace.set("publish", adapters=["dpo"])
    none, homeless = workplace.refused()
    assert none.startswith("models/dpo holds no LoRA adapters; train it with `lora`, or take it out of `publish.adap")
    assert homeless.startswith("the adapters of dpo belong to sft/strong, which is not published whole; name a")


def test_a_model_that_was_not_evaluated_is_told(workplace: Workplace) -> None:
    workplace.set("", test_sets=["demo-dev", "spider-dev"])
    missing = "reports/validation/answers/{}-spider-dev.json does not exist; run `dvc repro` to make it"
    assert workplace.refused() == [missing.format(model) for model in ("sft/weak", "sft/strong", "dpo")]
    workplace.put_answers("spider-dev")
    assert workplace.refused() == ["reports/evaluate/dpo-spider-dev.json does not exist; run `dvc repro` to make it"]


def test_the_module_ends_with_status_2_and_no_traceback_on_a_mistake(workplace: Workplace) -> None:
    workplace.set("publish", private="yes")
    done = subprocess.run(
        [sys.executable, "-m", "stages.publish"], capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("error: params.yaml: `publish.private` is 'yes'; ")
    assert "Traceback" not in done.stderr


def test_params_that_the_data_was_not_made_with_stand_on_no_card(workplace: Workplace) -> None:
    stages = {name: {"cmd": "x"} for name in ("pairs", "train_dpo", "publish")}
    Path("dvc.yaml").write_text(json.dumps({"stages": stages}))
    made = {
        "pairs": {
            "outs": [{"path": "data/pairs.parquet", "md5": "p"}], "params": {"params.yaml": {"pairs.neg_limit": 7}},
        },
        "train_dpo": {"deps": [{"path": "data/pairs.parquet", "md5": "old"}]},
        "publish": {"deps": [{"path": "data/pairs.parquet", "md5": "old"}]},
    }  # fmt: skip
    Path("dvc.lock").write_text(json.dumps({"stages": made}))
    why = "and cards would tell of other params; run `dvc repro publish`"
    assert workplace.refused() == [
        f"stage `pairs` is stale (pairs.neg_limit: 7 -> 1), {why}",
        f"stage `train_dpo` is stale (data/pairs.parquet), {why}",
    ]
    assert not workplace.export.exists()
