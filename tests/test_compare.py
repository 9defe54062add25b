"""The command: which answers a side stands for, what is printed and written, and how it ends on a mistake."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import polars as pl
import pytest
from dvc.repo import Repo

from stages.compare import main
from stages.core.layout import answers_file
from stages.core.tables import write_dataset
from stages.datasets.answers import ANSWERS
from tests.commands import run_here
from tests.diffing.world import new_repository, run
from tests.execution.world import make_database
from tests.test_evaluate import PARAMS as EVALUATE
from tests.workplace import EXECUTION, put_rows, write_params, write_prompts, write_questions

TEST_SET = "--test-set=demo-train"
GOLDS = [f"SELECT name FROM singer WHERE singer_id < {number}" for number in range(1, 5)]
RIGHT, WRONG = "SELECT name FROM singer /* right */", "SELECT age FROM singer"
STRONG = {0: True, 1: True, 2: False, 3: False}
DPO = {0: True, 1: False, 2: True, 3: False}
"""Number of the question to whether the model's greedy answer is right."""
HALVES = {"0000": "both_right", "0001": "lost", "0002": "won", "0003": "both_wrong"}
"""The outcomes of DPO, beside STRONG."""


def write_answers(
    model: str, right: Mapping[int, bool], test_set: str = "demo-train", file: Path | None = None, **changed: Any
) -> None:
    """Writes a greedy answer to each question, and a sample that says the opposite."""
    rows = [
        {
            "answer_id": f"{model}/{number}/{sample}", "model": model, "test_set": test_set,
            "question_id": f"demo/train/{number:04}", "sample": sample, "sql": RIGHT if matches else WRONG,
            **dict.fromkeys(("verdict_strict", "verdict_spider"), "match" if matches else "mismatch"),
            "verdict_bird": "match", **changed,
        }
        for number, is_right in right.items()
        for sample, matches in ((None, is_right), (0, not is_right))
    ]  # fmt: skip
    columns = ANSWERS.columns
    frame = pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)
    write_dataset(frame, ANSWERS, file or answers_file(model, test_set))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with four questions, and what two models said to them."""
    monkeypatch.chdir(tmp_path)
    write_params(evaluate=EVALUATE, execution=EXECUTION)
    make_database(tmp_path / "data/databases")
    write_questions(GOLDS)
    write_prompts()
    put_rows("gold", [{"question_id": f"demo/train/{n:04}", "verdict": "ok", "flags": ""} for n in range(len(GOLDS))])
    Path("reports/corpus.json").write_text('{"sets": {"demo-train": {"read": 4}}}')
    write_answers("sft/strong", STRONG)
    write_answers("dpo", DPO)
    return tmp_path


def compare(*words: str, folder: Path | None = None) -> CompletedProcess[str]:
    return run_here(main, folder or Path.cwd(), *words, TEST_SET, "--workers=1", "--cache=cache")


def figures(*words: str) -> dict[str, Any]:
    """What is written of two sides that can be compared."""
    done = compare(*words, "--json=compare.json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(Path("compare.json").read_text()))


def outcomes(*words: str) -> dict[str, str]:
    return {row["question_id"].rpartition("/")[2]: row["outcome"] for row in figures(*words)["rows"]}


def errors(*words: str) -> list[str]:
    done = compare(*words)
    assert done.returncode == 2 and not done.stdout and "Traceback" not in done.stderr
    return [line.removeprefix("error: ") for line in done.stderr.splitlines()]


# ---- the figures ----


def test_greedy_answers_are_compared_and_won_is_what_b_alone_has_right(folder: Path) -> None:
    assert outcomes("sft/strong", "dpo") == HALVES
    assert outcomes("dpo", "sft/strong") == HALVES | {"0001": "won", "0002": "lost"}


def test_the_figures_are_of_all_by_contract_and_by_difficulty(folder: Path) -> None:
    written = figures("sft/strong", "dpo")
    assert (written["ex_a"], written["ex_b"], written["difference"], written["p_value"]) == (0.5, 0.5, 0.0, 1.0)
    assert (written["won"], written["lost"], written["both_right"], written["both_wrong"]) == (1, 1, 1, 1)
    assert written["contracts"]["bird"]["ex_b"] == 1.0 and written["contracts"]["spider"]["ex_b"] == 0.5
    assert {level: of["difference"] for level, of in written["difficulties"].items()} == {"easy": 0.5, "hard": -0.5}
    assert written["difference_low"] < 0 < written["difference_high"]


def test_another_contract_decides_what_is_right(folder: Path) -> None:
    assert set(outcomes("sft/strong", "dpo", "--contract=bird").values()) == {"both_right"}


def test_a_model_does_not_differ_from_itself(folder: Path) -> None:
    written = figures("dpo", "models/dpo/")
    assert (written["difference"], written["difference_low"], written["difference_high"]) == (0, 0, 0)
    assert set(outcomes("dpo", "dpo").values()) == {"both_right", "both_wrong"}


def test_the_same_answers_give_the_same_bytes(folder: Path) -> None:
    written = []
    for _ in range(2):
        figures("sft/strong", "dpo")
        written.append(Path("compare.json").read_bytes())
    assert written[0] == written[1]


def test_questions_of_one_side_alone_and_with_another_gold_are_left_out_and_counted(folder: Path) -> None:
    old = folder / "old"
    shutil.copytree(folder / "data", old / "data")
    write_answers("dpo", {0: True, 1: True}, file=old / answers_file("dpo", "demo-train"))
    questions = pl.read_parquet("data/questions.parquet")
    other = pl.when(pl.col("question_id") == "demo/train/0001").then(pl.lit("SELECT 1")).otherwise("gold_sql")
    questions.with_columns(gold_sql=other).write_parquet(old / "data/questions.parquet")
    written = figures("./old", "dpo")
    assert written["left_out"] == {"only_a": 0, "only_b": 2, "different_gold": 1} and written["questions"] == 1
    told = compare("./old", "dpo").stdout
    assert "left out: 2 questions only B answers\n" in told
    assert "left out: 1 question with different gold queries\n" in told


# ---- what is printed ----


def test_it_tells_the_figures_and_each_question_that_one_side_alone_has_right(folder: Path) -> None:
    told = compare("sft/strong", "dpo").stdout
    assert told.startswith(
        "A  sft/strong  (sft/strong in this folder)\nB  dpo  (dpo in this folder)\n"
        "demo-train, 4 questions that both answer, contract strict\n"
    )
    assert told.endswith(f"""
won: B is right and A is wrong, 1 question

  demo/train/0002  music  easy
    question Which 2?
    gold     {GOLDS[2]}
    A        {WRONG}
             -- mismatch
    B        {RIGHT}
             -- match

lost: A is right and B is wrong, 1 question

  demo/train/0001  music  hard
    question Which 1?
    gold     {GOLDS[1]}
    A        {RIGHT}
             -- match
    B        {WRONG}
             -- mismatch
""")


def test_as_many_questions_are_shown_as_asked_for(folder: Path) -> None:
    write_answers("dpo", dict.fromkeys(range(4), True))
    write_answers("sft/strong", dict.fromkeys(range(4), False))
    shown = {flag: compare("sft/strong", "dpo", flag).stdout for flag in ("--show=0", "--show=3", "--all")}
    assert [text.count("  demo/train/") for text in shown.values()] == [0, 3, 4]
    assert "and 1 more; --all shows all" in shown["--show=3"] and "more" not in shown["--all"]


def test_no_question_is_shown_with_show_0_and_the_counts_are(folder: Path) -> None:
    write_answers("dpo", dict.fromkeys(range(4), True))
    text = compare("sft/strong", "dpo", "--show=0").stdout
    assert text.endswith(
        "\n\nwon: B is right and A is wrong, 2 questions\n\nlost: A is right and B is wrong, 0 questions\n"
    )


def test_equal_answers_are_told_in_a_line(folder: Path) -> None:
    line = "both give the same answer to every question\n"
    assert line in compare("dpo", "dpo").stdout and line not in compare("sft/strong", "dpo").stdout


def test_what_a_model_said_can_neither_command_the_terminal_nor_look_like_our_lines(folder: Path) -> None:
    write_answers("dpo", DPO, sql="SELECT '\x1b[2J\u202e'\nlost: A is right", error="no\nwon: B is right")
    told = compare("sft/strong", "dpo").stdout
    assert "\x1b" not in told and "\u202e" not in told and r"\x1b[2J\u202e" in told
    assert [line for line in told.splitlines() if line.startswith(("won", "lost"))] == [
        "won: B is right and A is wrong, 1 question", "lost: A is right and B is wrong, 1 question",
    ]  # fmt: skip


def test_sql_that_looks_like_a_secret_is_shown_as_it_is(folder: Path) -> None:
    sql = "SELECT name FROM singer WHERE access_token = 'abcdefghijklmnop'"
    write_answers("dpo", DPO, sql=sql)
    assert f"    B        {sql}\n" in compare("sft/strong", "dpo").stdout


def test_an_error_is_shown_where_there_is_one(folder: Path) -> None:
    write_answers("dpo", {0: False}, verdict_strict="exec_error", error="no such column: x", sql="")
    told = compare("sft/strong", "dpo").stdout
    assert "    B        (no SQL)\n             -- exec_error: no such column: x\n" in told


# ---- files and folders ----


@pytest.mark.parametrize("name", ["p.txt", "p.json", "p.jsonl"])
def test_a_file_of_predictions_is_executed_against_the_golds(name: str, folder: Path) -> None:
    sqls = [GOLDS[0], "SELECT 1", GOLDS[2], "SELECT absent FROM singer"]
    lines = [json.dumps({"question_id": f"demo/train/{n:04}", "sql": sql}) for n, sql in enumerate(sqls)]
    texts = {"p.txt": "\n".join(sqls), "p.json": json.dumps(sqls), "p.jsonl": "\n".join(reversed(lines))}
    Path(name).write_text(texts[name] + "\n")
    assert outcomes("sft/strong", name) == HALVES
    rows = figures("sft/strong", name)["rows"]
    assert [row["verdict_b"] for row in rows] == ["match", "mismatch", "match", "exec_error"]
    assert rows[3]["error_b"] == "no such column: absent"


def test_predictions_that_may_be_meant_otherwise_are_counted_as_score_does(folder: Path) -> None:
    texts = ["SELECT 1\tmusic", "SELECT 2\tAS x\tmusic", "```SELECT 3```\tmusic", "SELECT 4"]
    Path("p.txt").write_text("\n".join(texts) + "\n")
    written = figures("sft/strong", "p.txt")
    assert written["a"]["read_as"] == {}
    assert written["b"]["read_as"] == {"cut_at_tab": 1, "without_db_id": 1, "fenced": 1}
    text = compare("p.txt", "sft/strong").stdout
    first, *warnings, second = text.splitlines()[:5]
    assert first == "A  p.txt  (predictions, executed here)" and second.startswith("B  sft/strong")
    assert [line.split(":")[0] for line in warnings] == [
        "   1 of 4 predictions hold a tab that may be SQL",
        "   1 of 4 predictions have no db_id after them, as most have",
        "   1 of 4 predictions stand in code fences, which the official evaluators do not remove",
    ]


def no_executor(args: object) -> Callable[..., None]:
    return lambda *_: pytest.fail("a query is executed")


def test_predictions_that_were_executed_once_are_not_executed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.txt").write_text("SELECT 1\n" * 4)
    first = outcomes("dpo", "p.txt")
    monkeypatch.setattr("stages.compare.engine_of", no_executor)
    assert outcomes("dpo", "p.txt") == first
    Path("p.txt").write_text("SELECT 2\n" * 4)
    with pytest.raises(pytest.fail.Exception):
        compare("dpo", "p.txt")


def test_a_file_of_answers_that_evaluate_wrote_is_executed_no_more(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_answers("owner/model", DPO, file=Path("mine.parquet"))
    monkeypatch.setattr("stages.compare.engine_of", no_executor)
    assert outcomes("sft/strong", "mine.parquet") == HALVES


def test_a_checkout_elsewhere_is_compared_by_the_model_that_the_other_side_names(folder: Path) -> None:
    shutil.copytree(folder / "data", folder / "old/data")
    write_answers("sft/strong", DPO)
    assert outcomes("./old", "sft/strong") == HALVES
    assert outcomes("./old:sft/strong", "./old:dpo") == HALVES
    assert outcomes("sft/strong", "old/:dpo") == outcomes("sft/strong", "dpo")


@pytest.mark.parametrize("name", ["./old:models/sft/strong", "{folder}/models/sft/strong", "./models/sft/strong/"])
def test_a_model_may_be_named_by_its_folder(name: str, folder: Path) -> None:
    shutil.copytree(folder / "data", folder / "old/data")
    assert outcomes(name.format(folder=folder), "models/dpo") == HALVES


def test_a_folder_without_a_model_beside_another_one_is_taken_by_the_pipelines_last_model(folder: Path) -> None:
    shutil.copytree(folder / "data", folder / "old/data")
    write_answers("dpo", STRONG, file=folder / "old" / answers_file("dpo", "demo-train"))
    assert outcomes("./old", ".") == HALVES


def test_an_export_as_it_is_published_is_a_version_too(folder: Path) -> None:
    export = folder / "export"
    (export / "answers").mkdir(parents=True)
    (export / "gold").mkdir()
    shutil.copy("data/questions.parquet", export / "gold/train-00000-of-00001.parquet")
    files = [answers_file(model, "demo-train") for model in ("sft/strong", "dpo")]
    pl.concat(map(pl.read_parquet, files)).write_parquet(export / "answers/train-00000-of-00001.parquet")
    assert outcomes("./export:sft/strong", "./export:dpo") == HALVES
    [sentence] = errors("./export:sft/weak", "dpo")
    assert sentence == (
        "./export:sft/weak: it has no answers of sft/weak to demo-train; it has dpo on demo-train, "
        "sft/strong on demo-train; choose a model listed there, or run its pipeline to the end"
    )
    [of_file] = errors("export/answers/train-00000-of-00001.parquet", "dpo")
    assert of_file.endswith(" (models: dpo, sft/strong); give export:MODEL, with one of these")


def test_a_folder_that_is_no_version_is_refused_with_the_export_in_it(folder: Path) -> None:
    (folder / "publish/dataset/answers").mkdir(parents=True)
    problem = "holds neither a checkout nor an export"
    assert errors("publish:dpo", "dpo") == [f"`publish:dpo` {problem}; give the folder of one"]
    (folder / "publish/dataset/answers/dev-00000-of-00001.parquet").touch()
    assert errors("publish", "dpo") == [f"`publish` {problem}; publish/dataset is an export: give that"]


# ---- revisions and experiments ----

PIPELINE = """
stages:
  evaluate:
    matrix: {model: [dpo], test_set: [demo-train]}
    cmd: mkdir -p data/answers && cp ${answers} data/answers/${item.model}-${item.test_set}.parquet
    params: [answers]
    outs: ["data/answers/${item.model}-${item.test_set}.parquet"]
  corpus:
    cmd: cp questions.made data/questions.parquet
    deps: [questions.made]
    outs: [data/questions.parquet]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tag v1, whose dpo answers as STRONG, and the experiment puffy-daks, whose dpo answers as DPO."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch, chdir(folder):
        patch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
        new_repository(folder)
        write_questions(GOLDS)
        Path("data/questions.parquet").rename("questions.made")
        for name, right in (("first.made", STRONG), ("second.made", DPO)):
            write_answers("dpo", right, file=Path(name))
        (folder / "dvc.yaml").write_text(PIPELINE)
        for name in ("first.made", "second.made"):
            write_params(answers=name, evaluate=EVALUATE, execution=EXECUTION)
            with Repo() as repo:
                repo.reproduce()
            run(folder, "git", "add", "--all")
            run(folder, "git", "commit", "--quiet", "--message", name)
            run(folder, "git", "tag", {"first.made": "v1", "second.made": "v2"}[name])
        second = run(folder, "git", "rev-parse", "HEAD").strip()
        run(folder, "git", "update-ref", f"refs/exps/{second[:2]}/{second[2:]}/puffy-daks", second)
        run(folder, "git", "tag", "--delete", "v2")
        yield folder


@pytest.mark.parametrize("side", ["puffy-daks", "HEAD:dpo", "HEAD:models/dpo", "dpo"])
def test_a_revision_and_an_experiment_have_the_answers_of_their_commit(side: str, repository: Path) -> None:
    done = compare("v1", side, folder=repository)
    assert done.returncode == 0, done.stderr
    assert "won: B is right and A is wrong, 1 question\n\n  demo/train/0002" in done.stdout
    assert "A  v1  (dpo at commit " in done.stdout


def test_a_revision_without_the_answers_asked_for_names_those_it_has(repository: Path) -> None:
    done = compare("v1:sft/strong", "HEAD~9", folder=repository)
    missing, unknown = done.stderr.splitlines()
    assert missing == (
        "error: v1:sft/strong: it has no data/answers/sft/strong-demo-train.parquet; it has "
        "data/answers/dpo-demo-train.parquet; choose a model listed there, or run its pipeline to the end"
    )
    assert unknown.startswith(
        "error: `HEAD~9` is not a model, file, revision or folder; this folder has answers of: dpo on demo-train; give "
    )


def test_a_name_of_a_revision_that_is_misspelled_brings_similar_ones(repository: Path) -> None:
    done = compare("puffy-duck", "dpo", folder=repository)
    assert done.returncode == 2 and "; similar names: puffy-daks; " in done.stderr


def test_a_name_of_a_model_and_of_a_branch_is_refused(repository: Path) -> None:
    run(repository, "git", "branch", "dpo")
    done = compare("dpo", "models/dpo", folder=repository)
    run(repository, "git", "branch", "--delete", "dpo")
    assert done.stderr == "error: `dpo` is both a model here and a revision; give models/dpo, or dpo:dpo\n"


def test_answers_that_are_older_than_their_inputs_are_told(repository: Path) -> None:
    params = repository / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("second.made", "third.made"))
    done = compare("v1", "dpo", folder=repository)
    params.write_text(text)
    assert "   its answers are older than their inputs: answers: " in done.stdout


# ---- mistakes ----


def test_a_name_that_is_nothing_brings_what_there_is(folder: Path) -> None:
    [sentence] = errors("nothing", "dpo")
    assert sentence.startswith(
        "`nothing` is not a model, file, revision or folder; this folder has answers of: dpo on demo-train, "
        "sft/strong on demo-train; "
    )


def test_an_empty_name_is_told_by_its_side(folder: Path) -> None:
    found = errors("", "dqo")
    assert found[0].startswith("A is empty; give a model of this folder") and "; similar names: dpo; " in found[1]


@pytest.mark.parametrize(
    ("name", "models"), [("sft/strong:", "sft/strong"), ("dpo:sft/weak", "dpo or sft/weak"), ("models/dpo:", "dpo")]
)
def test_a_colon_after_a_model_is_refused(name: str, models: str, folder: Path) -> None:
    assert errors(name, "dpo") == [f"`{name}`: a model name takes no `:`; give {models}"]


@pytest.mark.parametrize("name", [":", ":dpo", "a\x1b[2Jb", "nowhere/", "x" * 300])
def test_no_name_is_taken_for_another_one(name: str, folder: Path) -> None:
    [sentence] = errors(name, "dpo")
    assert "is not a model, file, revision or folder" in sentence or "File name too long" in sentence
    assert "\x1b" not in sentence


def test_a_model_without_answers_to_the_test_set_brings_the_test_sets_that_it_has(folder: Path) -> None:
    answers_file("dpo", "demo-train").unlink()
    write_answers("dpo", DPO, "demo-dev")
    [sentence] = errors("sft/strong", "dpo")
    assert sentence == (
        "`dpo` has no answers to demo-train here, but to demo-dev; correct --test-set, or run `dvc repro evaluate`"
    )


def test_a_model_that_was_never_asked_brings_how_to_ask_it(folder: Path) -> None:
    for name in ("models/sft/weak", "mine"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    for name in ("sft/weak", "models/sft/weak", "mine", "./mine"):
        [sentence] = errors(name, "dpo")
        assert sentence.startswith(f"`{name}` is a model without answers here; run `python -m stages.evaluate`")


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    write_params(evaluate=EVALUATE | {"seed": -1}, execution=EXECUTION)
    Path("p.txt").write_text("SELECT 1\n")
    found = errors("p.txt", "./nowhere", "--json=p.txt")
    assert [sentence.split(" ")[0] for sentence in found] == ["params.yaml:", "--json", "p.txt", "`./nowhere`"]
    assert "it is the file of A" in found[1] and Path("p.txt").read_text() == "SELECT 1\n"


def test_several_predictions_for_a_question_are_refused(folder: Path) -> None:
    lines = [json.dumps({"question_id": f"demo/train/{n % 4:04}", "sql": "SELECT 1"}) for n in range(5)]
    Path("p.jsonl").write_text("\n".join(lines))
    [sentence] = errors("p.jsonl", "dpo")
    assert sentence == (
        "p.jsonl has several predictions for 1 questions (the first: demo/train/0000); give one each, as greedy "
        "answers are compared"
    )


def test_answers_of_several_models_or_to_another_test_set_are_refused(folder: Path) -> None:
    frames = [pl.read_parquet(answers_file(model, "demo-train")) for model in ("dpo", "sft/strong")]
    pl.concat(frames).write_parquet("both.parquet")
    write_answers("dpo", DPO, "demo-dev", Path("dev.parquet"))
    both, dev = errors("both.parquet", "dev.parquet")
    assert both.startswith("both.parquet has several greedy answers to a question (models: dpo, sft/strong)")
    assert dev == "dev.parquet has no greedy answers to demo-train, but to: demo-dev"


def test_sides_without_a_question_in_common_are_refused(folder: Path) -> None:
    write_answers("dpo", {0: True})
    write_answers("sft/strong", {1: True})
    assert errors("dpo", "sft/strong") == [
        "dpo and sft/strong have no question of demo-train in common, so they cannot be compared"
    ]


@pytest.mark.parametrize("name", ["p.parquet", "data/answers/dpo-demo-train.parquet"])
def test_a_damaged_file_is_a_sentence(name: str, folder: Path) -> None:
    Path(name).write_bytes(b"PAR1 and no more")
    [sentence] = errors(name, "sft/strong")
    assert sentence.startswith(f"{name} is not a Parquet file (")


def test_a_number_to_show_that_is_none_is_refused(folder: Path) -> None:
    done = compare("dpo", "sft/strong", "--show=-1")
    assert done.returncode == 2 and "'-1' is not a whole number from 0" in done.stderr
