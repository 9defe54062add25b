"""A working directory as stage `publish` finds it: small datasets with their receipts, a model, figures, git."""

import json
import shutil
import subprocess
from functools import reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import polars as pl
import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages import publish, push
from stages.core.errors import UserError
from stages.core.files import read_json, sha256_folder, write_json
from stages.core.layout import DICTIONARY, EXPORT, evaluation_file, model_path, report_file
from stages.core.receipts import write_receipt
from stages.core.tables import write_dataset
from stages.datasets.answers import ANSWERS, answers_of
from stages.datasets.catalog import DATASETS
from stages.fetching.sources import SOURCES
from stages.publishing.params import Model
from tests import ROOT
from tests.hub import OWNER
from tests.pairing.tables import frame_of
from tests.test_pipeline import load
from tests.workplace import put, set_arguments

DATASET, MODEL = f"{OWNER}/small", f"{OWNER}/small-dpo"
VERSION = "v0.1.0"
IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
FIGURES = {
    "questions": 1_088, "sampled_questions": 800, "ex": 0.6, "ex_low": 0.2, "ex_high": 0.9,
    "pass_at": {"1": 0.5, "2": 0.75}, "maj_at": {"1": 0.5, "2": 0.5},
}  # fmt: skip
QUESTIONS = [
    *(f"demo/train/{number:04}" for number in range(4)), "demo/dev/0000", "demo/test/0000", "mydata/train/0000",
    "spider/train/0000",
]  # fmt: skip
"""Of the demo corpus, of a source of the user's own and of a known one."""
_TAGGED = TemporaryDirectory()
"""Workplaces after their first tag, by the hash of what they were made of; they go with the process."""


def small_tables() -> dict[str, pl.DataFrame]:
    """Every dataset: two candidates a train question, the first right and the second wrong, and a pair of them."""
    train = [key for key in QUESTIONS if "/train/" in key]
    questions = [
        {
            "question_id": key, "source": key.split("/")[0], "split": key.split("/")[1], "db_id": "music",
            "question": "How many | singers?", "evidence": "", "gold_sql": "SELECT count(*) FROM singer",
            "other_golds": "", "difficulty": "easy", "origin": "human",
        }
        for key in QUESTIONS
    ]  # fmt: skip
    candidates = [
        {
            "candidate_id": f"{key}:{sample}", "question_id": key, "sample": sample, "completion": sql, "sql": sql,
            "model": "weak", "model_version": "f" * 64, "prompt_sha256": "e" * 64, "temperature": 1.0, "top_p": 1.0,
            "max_tokens": 80, "seed": 3, "finish_reason": "stop", "tokens": 9, "logprob": -1.5,
            "db_sha256": "d" * 64, "verdict": verdict, "steps": 20, "rows": 1, "contract": "strict",
            "sqlite_version": "3.54.1",
        }
        for key in train
        for sample, (sql, verdict) in enumerate([("SELECT count(*) FROM singer", "match"), ("SELECT 1", "mismatch")])
    ]  # fmt: skip
    pairs = [
        {
            "pair_id": f"pair {key}", "question_id": key, "db_id": "music", "prompt": f"Prompt of {key}\n",
            "chosen": "SELECT count(*) FROM singer", "rejected": "SELECT 1", "chosen_id": f"{key}:0",
            "rejected_id": f"{key}:1", "rejected_verdict": "mismatch", "similarity": 0.4,
        }
        for key in train
    ]  # fmt: skip
    golds = [{"question_id": key, "verdict": "ok", "steps": 20, "rows": 1, "columns": 1, "flags": "",
              "findings": ""} for key in QUESTIONS]  # fmt: skip
    prompts = [{"question_id": key, "db_id": "music", "prompt": f"Prompt of {key}\n", "tokens": 5,
                "dropped_tables": "[]", "lost_tables": "[]"} for key in QUESTIONS]  # fmt: skip
    sft = [{"question_id": key, "prompt": f"Prompt of {key}\n", "completion": "SELECT count(*) FROM singer",
            "origin": "human"} for key in train]  # fmt: skip
    synthetic = [
        {
            "item_id": f"strong/bakery_0001/{number:02}", "domain": "bakery", "db_id": "strong_bakery_0001",
            "question": "How many ovens are there?", "evidence": "", "gold_sql": "SELECT count(*) FROM oven",
            "difficulty": "easy", "concept": "count", "model": "demo", "model_version": "seed 1", "refusal": refusal,
            "checks": "english,names", "votes": 0, "repairs": 0,
        }
        for number, refusal in enumerate([None, "exec_error"])
    ]  # fmt: skip
    sft.append({"question_id": "strong/bakery_0001/00", "prompt": "Prompt of an oven\n",
                "completion": "SELECT count(*) FROM oven", "origin": "strong"})  # fmt: skip
    counterexamples = [{"candidate_id": f"{key}:0", "question_id": key, "class": "survived", "mutants_tried": 9,
                        "mutants_void": 0} for key in train]  # fmt: skip
    rows: dict[str, list[dict[str, Any]]] = {
        "questions": questions, "synthetic": synthetic, "gold": golds, "prompts": prompts, "sft": sft,
        "candidates": candidates, "exec_results": candidates,
        "counterexamples": counterexamples, "pairs": pairs,
    }  # fmt: skip
    return {dataset: frame_of(of_it, dataset) for dataset, of_it in rows.items()}


class Workplace:
    """The directory is the working directory, too."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        patch.chdir(folder)
        for path in (Path("params.yaml"), DICTIONARY):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, path)
        for dataset, frame in small_tables().items():
            put(dataset, frame)
        for number, model in enumerate(get_args(Model)):
            model_path(model).mkdir(parents=True)
            for name in ("config.json", "tokenizer.json"):
                (model_path(model) / name).write_text("{}")
            (model_path(model) / "model.safetensors").write_bytes(bytes(range(number, 256)))
        for test_set in ("demo-dev", "demo-test"):
            write_json(evaluation_file("dpo", test_set), FIGURES)
        learnt = {"objective": "cdpo", "trained_on": 6, "chosen_logprob_change": -0.5, "rejected_logprob_change": -2.0}
        write_json(report_file("train_dpo"), learnt)
        for test_set in ("demo-dev", "demo-test"):
            self.put_answers(test_set)
        self.set("publish", dataset=DATASET, models={"dpo": MODEL})
        self.set("", test_sets=["demo-dev", "demo-test"])

    def put_answers(self, test_set: str) -> None:
        """Each model answers each question of the test set, once greedily and once as a sample."""
        prefix = test_set.replace("-", "/")
        for model in get_args(Model):
            rows = [
                {
                    "answer_id": f"{model}/{key}/{'greedy' if sample is None else '0000'}", "model": model,
                    "test_set": test_set, "question_id": key, "sample": sample, "completion": "SELECT 1",
                    "sql": "SELECT 1", "verdict_strict": "mismatch", "verdict_spider": "mismatch",
                    "verdict_bird": "match", "steps": 9, "rows": 1, "logprob": -0.5, "tokens": 3,
                }
                for key in QUESTIONS if key.startswith(prefix) for sample in (None, 0)
            ]  # fmt: skip
            dataset = answers_of(model, test_set)
            frame = pl.DataFrame([{name: row.get(name) for name in ANSWERS.columns} for row in rows],
                                 schema=ANSWERS.columns)  # fmt: skip
            write_dataset(frame, dataset)
            write_receipt(dataset, frame.height, True)

    def set(self, section: str, **values: Any) -> None:
        """Changes params of a section; "" is the whole file."""
        yaml, file = YAML(), self.folder / "params.yaml"
        params = yaml.load(file.read_text())
        reduce(getitem, section.split(".") if section else [], params).update(values)
        with file.open("w") as opened:
            yaml.dump(params, opened)

    def replace_in_sources(self, old: str, new: str, count: int = -1) -> None:
        """Changes what is known of the sources."""
        file = self.folder / "sources.yaml"
        file.write_text(SOURCES.read_text().replace(old, new, count))
        self.patch.setattr(publish, "SOURCES", file)

    def tag(self, version: str = VERSION) -> str:
        """Makes the export, commits all to DVC and git, and tags the commit; its hex id. Equal ones are made once."""
        if (self.folder / ".git").exists():
            return self._tag(version)
        tagged = Path(_TAGGED.name) / f"{version}-{sha256_folder(self.folder)}"
        if not tagged.exists():
            self._tag(version)
            shutil.copytree(self.folder, tagged, symlinks=True)
        self.patch.setenv("DVC_SITE_CACHE_DIR", str(self.folder / "site"))
        shutil.copytree(tagged, self.folder, symlinks=True, dirs_exist_ok=True)
        return self.git("rev-parse", "HEAD").strip()

    def _tag(self, version: str) -> str:
        self.run()
        if not (self.folder / ".git").exists():
            ignored = ("/data/*.parquet", "/data/answers", "/models", "/reports/publish", "*.partial/", "/site")
            (self.folder / ".gitignore").write_text("\n".join(ignored) + "\n")
            self.git("init", "--quiet")
            Repo.init(str(self.folder)).close()
            self.write_pipeline()
        self.patch.setenv("DVC_SITE_CACHE_DIR", str(self.folder / "site"))
        with Repo() as repo:
            repo.commit(force=True)
        self.git("add", "--all")
        self.git(*IDENTITY, "commit", "--quiet", "--allow-empty", "--message", "a version")
        self.git("tag", "--force", version)
        return self.git("rev-parse", "HEAD").strip()

    def write_pipeline(self) -> None:
        """Writes a dvc.yaml whose stage `publish` is that of the repository, less its modules; other stages make what
        it reads."""
        stage = load("dvc.yaml")["stages"]["publish"]
        inputs = [*(str(dataset.file) for dataset in DATASETS.values()), "data/answers"]
        inputs += [str(model_path(model)) for model in get_args(Model)]
        deps = [path for path in stage["deps"] if not path.startswith("stages/") and (self.folder / path).exists()]
        stages = {path.replace("/", "-").replace(".", "-"): {"cmd": "make", "outs": [path]} for path in sorted(inputs)}
        (self.folder / "dvc.yaml").write_text(json.dumps({"stages": stages | {"publish": stage | {"deps": deps}}}))

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout

    def run(self) -> dict[str, Any]:
        """The stage's report."""
        set_arguments(self.patch, "publish")
        publish.main()
        return read_json(self.folder / report_file("publish"))

    def push(self, version: str = VERSION) -> str:
        """The commit of this version, which is tagged and pushed."""
        self.set("publish", version=version)
        commit = self.tag(version)
        self.push_again()
        return commit

    def push_again(self) -> None:
        set_arguments(self.patch, "push")
        push.main()

    def refused(self) -> list[str]:
        """The sentences that the stage ends with."""
        with pytest.raises(UserError) as caught:
            self.run()
        return list(caught.value.sentences)

    def push_refused(self) -> list[str]:
        """The sentences that a push ends with. It leaves nothing behind."""
        with pytest.raises(UserError) as caught:
            self.push_again()
        assert not list(self.folder.rglob("*.partial"))
        return list(caught.value.sentences)

    @property
    def export(self) -> Path:
        return self.folder / EXPORT

    @property
    def card(self) -> str:
        return (self.export / "dataset" / "README.md").read_text()

    def rows(self, config: str, split: str = "train") -> pl.DataFrame:
        """What is exported."""
        return pl.read_parquet(self.export / "dataset" / config / f"{split}-*.parquet")
