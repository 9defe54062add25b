"""Questions about any SQLite file: prompt, SQL and rows, on a terminal, from a pipe, as JSON; and what is refused."""

import fcntl
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any

import polars as pl
import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages import ask
from stages.asking.query_rows import query_rows
from stages.core.layout import DATABASES
from stages.datasets.questions import QUESTIONS
from stages.lm.completions import Completion, Decoding, PromptedQuestion
from stages.prompting.rendering import PromptsParams, render_prompts
from stages.sampling.transformers_engine import TransformersEngine
from tests import ROOT
from tests.commands import run_here
from tests.execution.world import ENDLESS, make_database
from tests.hub import hub_of
from tests.test_evaluate import PARAMS
from tests.test_prompts import PLAIN
from tests.workplace import EXECUTION, write_params

DDL = "singer(singer_id, name, age, country)\nalbum(album_id, singer_id, title)\n"
DATABASE = "data/databases/music/music.sqlite"
FLAGS = ("--model=model", f"--database={DATABASE}")


@pytest.fixture
def folder(
    tmp_path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A working directory with a database, a model and params.yaml."""
    monkeypatch.chdir(tmp_path)
    write_sections()
    make_database(tmp_path / DATABASES)
    model.save_pretrained("model")
    tokenizer.save_pretrained("model")
    return tmp_path


def write_sections(step_budget: int = 1_000_000, wall_seconds: int = 60, **prompts: Any) -> None:
    execution = EXECUTION | {"wall_seconds": wall_seconds}
    write_params(evaluate=PARAMS, execution=execution, prompts=PLAIN | prompts, gold={"step_budget": step_budget})


class Saying:
    """An engine whose completions are given, one a question; it keeps the prompts."""

    name, version, block_size, finish_reason = "saying", "1", 1, "stop"

    def __init__(self, *completions: str) -> None:
        self.completions = list(completions)
        self.prompts: list[str] = []
        self.decodings: list[Decoding] = []

    def batches(self, questions: Sequence[PromptedQuestion]) -> list[list[int]]:
        raise AssertionError("one question needs no batches")

    def identity(self, batch: Sequence[PromptedQuestion]) -> object:
        raise AssertionError("nothing is cached")

    def sample(
        self, questions: Sequence[PromptedQuestion], decoding: Decoding, first: int, count: int
    ) -> list[list[Completion]]:
        self.prompts += [question.prompt for question in questions]
        self.decodings.append(decoding)
        return [[Completion(self.completions.pop(0), self.finish_reason, 1, 0.0)] for _ in questions]

    def report(self) -> dict[str, Any]:
        return {}


Asks = Callable[..., CompletedProcess[str]]


@pytest.fixture
def asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Asks:
    """Runs the command with a model that says `completions`, and `typed` as its standard input."""

    def run(*flags: str, says: Sequence[str] = (), typed: bytes | None = None) -> CompletedProcess[str]:
        engine = Saying(*says)
        monkeypatch.setattr(ask, "open_engine", lambda *_, **__: engine)
        if typed is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        done = run_here(ask.main, folder, *FLAGS, *flags)
        done.args = engine
        return done

    return run


def test_the_prompt_the_sql_and_its_rows_are_printed(asks: Asks) -> None:
    done = asks("Who is old?", says=["```sql\nSELECT name, age FROM singer WHERE age > 39\n```"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "prompt", *(f"  {line}" for line in DDL.splitlines()), "  question: Who is old?", "  sql:", "",
        "SQL", "  SELECT name, age FROM singer WHERE age > 39", "",
        "3 rows", "  name  age", "  ----  ---", "  Bea   40", "  Cid   40", "  Dan   51", "",
    ]  # fmt: skip


def test_without_the_prompt_the_question_stands_in_its_place(asks: Asks) -> None:
    done = asks("Who?", "--no-prompt", says=["SELECT 1 AS one"])
    assert done.stdout == "question\n  Who?\n\nSQL\n  SELECT 1 AS one\n\n1 row\n  one\n  ---\n  1\n\n"


@pytest.mark.parametrize("style", ["compact", "create_table"])
def test_the_prompt_is_the_one_that_the_pipeline_makes(asks: Asks, style: str) -> None:
    changed: dict[str, Any] = {"style": style, "example_rows": 2, "max_tokens": 60, "shuffle": 3}
    write_sections(**changed)
    row = {
        "question_id": "demo/dev/0000", "source": "demo", "split": "dev", "db_id": "music", "question": "Which titles?",
        "evidence": "a title is a text", "gold_sql": "", "other_golds": "", "difficulty": "easy", "origin": "human",
    }  # fmt: skip
    questions = pl.DataFrame([row], schema=QUESTIONS.columns)
    expected = render_prompts(questions, PromptsParams.model_validate(PLAIN | changed), DATABASES)
    assert expected["dropped_tables"].item() == '["singer"]'
    done = asks("  Which titles? ", "--evidence= a title is a text ", says=["SELECT 1"])
    assert done.args.prompts == expected["prompt"].to_list()


def test_the_model_answers_as_in_evaluate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run_here(ask.main, folder, *FLAGS, "--json", "Which singers have an age above 3?")
    answer = json.loads(done.stdout)
    question = PromptedQuestion("demo/dev/0000", "music", answer["prompt"])
    greedy = Decoding(1, 0.0, 1.0, PARAMS["max_tokens"], PARAMS["seed"])
    ((completion,),) = TransformersEngine(Path("model"), 4).sample([question], greedy, 0, 1)
    assert answer["completion"] == completion.completion != ""


def test_the_decoding_is_greedy_with_the_tokens_of_evaluate(asks: Asks) -> None:
    (decoding,) = asks("Who?", says=["SELECT 1"]).args.decodings
    assert (decoding.n, decoding.temperature, decoding.max_tokens) == (1, 0.0, PARAMS["max_tokens"])


DOC = (ROOT / "docs" / "ask.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m stages.ask (.*)$", DOC.replace("\\\n", " "), re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_docs_answers(asks: Asks, folder: Path, command: str) -> None:
    arguments = shlex.split(command.partition(" < ")[0])
    database = folder / arguments[arguments.index("--database") + 1]
    shutil.copytree(folder / "data/databases/music", database.parent)
    (database.parent / "music.sqlite").rename(database)
    shutil.copytree("model", arguments[arguments.index("--model") + 1])
    done = asks(*arguments, says=["SELECT 1"], typed=b"Who?\n")
    assert (done.returncode, done.stderr) == (0, "") and "SELECT 1" in done.stdout


def test_the_fields_of_the_json_are_those_of_the_docs(asks: Asks) -> None:
    answer = json.loads(asks("Who?", "--json", says=["SELECT 1"]).stdout)
    fields = DOC.partition("one object a question with whole values: ")[2].partition(".\n")[0]
    assert re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", fields, flags=re.DOTALL)) == list(answer)


# ---- rows ----


def test_rows_beyond_the_most_shown_are_counted(asks: Asks) -> None:
    sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 2025) SELECT x FROM n"
    lines = asks("Count", "--rows=2", says=[sql]).stdout.splitlines()
    assert lines[lines.index("2,025 rows") :] == ["2,025 rows", "  x", "  -", "  1", "  2", "  … and 2,023 more", ""]


def test_an_answer_that_was_cut_says_so(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Saying, "finish_reason", "length")
    assert "\n\nSQL, cut at `evaluate.max_tokens`\n  SELECT 1\n" in asks("Who?", says=["SELECT 1"]).stdout
    assert json.loads(asks("Who?", "--json", says=["SELECT 1"]).stdout)["finish_reason"] == "length"


def test_no_rows_are_a_result_too(asks: Asks) -> None:
    done = asks("Who?", "--no-prompt", says=["SELECT name FROM singer WHERE age > 99"])
    assert done.stdout.endswith("\n0 rows\n  name\n  ----\n\n")


def test_what_is_in_a_cell_or_a_name_commands_no_terminal(asks: Asks) -> None:
    sql = """SELECT char(27) || '[2J' || char(10) || 'x' AS "a\x1b]0;title\x07", char(8238) || 'abc' AS "b\u2028"
    """
    output = asks("Who\x1b[31m?", says=[sql]).stdout
    assert "\x1b" not in output and "\x07" not in output and "\u202e" not in output and "\u2028" not in output
    assert output.splitlines()[-4:] == [
        r"  a\x1b]0;title\x07  b\u2028", f"  {'-' * 17}  {'-' * 9}", r"  \x1b[2J\nx         \u202eabc", "",
    ]  # fmt: skip


def test_a_cell_of_every_type_is_shown(asks: Asks) -> None:
    done = asks("?", "--no-prompt", says=["SELECT NULL, x'00ff', 2.5, -7, '', 'NULL', 9e999, CAST(x'41ff' AS TEXT)"])
    assert done.stdout.splitlines()[-2].split() == ["NULL", "X'00FF'", "2.5", "-7", "NULL", "inf", r"A\udcff"]


def test_a_long_cell_is_cut(asks: Asks) -> None:
    done = asks("?", "--no-prompt", says=["SELECT hex(zeroblob(500000)) AS long, hex(zeroblob(20)) AS short"])
    assert done.stdout.splitlines()[-2].split() == ["0" * 39 + "…", "0" * 40]


def test_data_that_looks_like_a_secret_is_shown_as_it_is(asks: Asks) -> None:
    values = "SELECT 'http://a:b@x.org' AS cookie, 5 AS access_token"
    sql = f"SELECT cookie, access_token FROM ({values}) WHERE cookie >= 'a' AND access_token = 5"
    lines = asks("Which cookie: 5?", "--no-prompt", says=[sql]).stdout.splitlines()
    assert lines[1] == "  Which cookie: 5?" and lines[4] == f"  {sql}"
    assert [line.split() for line in lines[-4:-1:2]] == [["cookie", "access_token"], ["http://a:b@x.org", "5"]]
    answer = json.loads(asks("Which cookie: 5?", "--json", says=[sql]).stdout)
    assert (answer["question"], answer["sql"], answer["completion"]) == ("Which cookie: 5?", sql, sql)
    assert (answer["columns"], answer["rows"]) == (["cookie", "access_token"], [["http://a:b@x.org", 5]])


@pytest.mark.parametrize(
    ("completion", "sentence"),
    [
        ("SELECT absent FROM singer", "no rows: SQLite refuses the query: no such column: absent"),
        ("DELETE FROM singer", "no rows: SQLite refuses the query: not authorized"),
        ("ATTACH DATABASE 'made.sqlite' AS made", "no rows: SQLite refuses the query: not authorized"),
        ("VACUUM INTO 'made.sqlite'", "no rows: the answer holds no SQL"),
        ("PRAGMA journal_mode = wal", "no rows: SQLite refuses the query: not authorized"),
        (ENDLESS, "no rows: the query was stopped: needs more than 1,000,000 steps; raise `gold.step_budget` of "
                  "params.yaml"),
        ("I do not know.", "no rows: the answer holds no SQL"),
        ("", "no rows: the answer holds no SQL"),
    ],
)  # fmt: skip
def test_a_query_without_rows_gives_a_sentence_and_changes_nothing(
    asks: Asks, folder: Path, completion: str, sentence: str
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = asks("Who?", says=[completion])
    *_, last, empty = done.stdout.splitlines()
    assert (done.returncode, done.stderr, empty) == (0, "", "")
    assert last.startswith(sentence)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


MANY = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 600000) SELECT x FROM n"


def test_of_a_result_beyond_the_limits_of_execution_the_first_rows_are_shown(asks: Asks) -> None:
    write_sections(step_budget=10**9)
    assert asks("Who?", "--rows=2", says=[MANY]).stdout.splitlines()[-7:] == [
        "stopped after 500,100 rows: more than 500,000 rows or 200 MB of result; raise `execution.max_rows` or "
        "`execution.result_mb` of params.yaml", "  x", "  -", "  1", "  2", "  … and 500,098 more", "",
    ]  # fmt: skip
    answer = json.loads(asks("Who?", "--rows=2", "--json", says=[MANY]).stdout)
    assert [answer[name] for name in ("status", "error", "columns", "rows", "total_rows")] == [
        "undecided", "more than 500000 rows or 200 MB of result", ["x"], [[1], [2]], 500_100,
    ]  # fmt: skip


def test_of_a_query_beyond_its_steps_the_first_rows_are_shown(asks: Asks) -> None:
    write_sections(step_budget=20_000)
    *_, heading, name, rule, first, more, _ = asks("Who?", "--rows=1", says=[MANY]).stdout.splitlines()
    assert re.fullmatch(
        r"stopped after \d,\d{3} rows: needs more than 20,000 steps; raise `gold.step_budget` of params.yaml", heading
    )
    assert (name, rule, first) == ("  x", "  -", "  1") and "more" in more


def test_a_damaged_database_is_an_error(asks: Asks) -> None:
    with sqlite3.connect(DATABASE) as connection:
        connection.execute("CREATE TABLE big AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n "
                           "LIMIT 50000) SELECT x FROM n")  # fmt: skip
    connection.close()
    data = bytearray(Path(DATABASE).read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    Path(DATABASE).write_bytes(data)
    done = asks("--no-prompt", says=["SELECT sum(x) FROM big", "SELECT 1"], typed=b"First?\nSecond?\n")
    assert (done.returncode, done.stdout.count("1 row\n")) == (2, 1)
    assert done.stderr == (
        f"error: {DATABASE} is damaged (database disk image is malformed); check it with `PRAGMA integrity_check`\n"
    )


def test_a_query_that_stalls_its_process_is_ended_by_the_wall_clock(
    asks: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sections(step_budget=10**9, wall_seconds=1)
    monkeypatch.setattr("stages.asking.query_rows.HANG_GRACE_SECONDS", 0.5)
    slow = "SELECT instr(hex(zeroblob(4900000)), hex(zeroblob(2400000)) || '1')"  # one operation: no look at the clock
    last = asks("Who?", says=[slow]).stdout.splitlines()[-2]
    assert last == "no rows: the query was stopped by a safety net: its process was lost as often as it was tried"


# ---- JSON ----


def test_json_is_one_object_a_question_with_the_values_as_they_are(asks: Asks) -> None:
    says = ["SELECT name, x'00ff' AS b, 9e999 AS x, NULL AS n FROM singer", "SELECT", "none"]
    done = asks("--json", "--rows=1", says=says, typed=b"First?\nSecond?\n\nThird?")
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert first == {
        "question": "First?", "prompt": f"{DDL}question: First?\nsql:\n", "completion": says[0],
        "finish_reason": "stop", "sql": says[0], "status": "ok", "error": None, "steps": first["steps"],
        "columns": ["name", "b", "x", "n"], "rows": [["Ada", "X'00FF'", "inf", None]], "total_rows": 4,
    }  # fmt: skip
    assert (second["status"], second["error"], second["rows"]) == ("exec_error", "incomplete input", [])
    assert (third["question"], third["completion"], third["sql"], third["status"]) == ("Third?", "none", "", "no_sql")


# ---- one question after the other ----


def test_each_line_of_a_pipe_is_a_question_and_the_model_is_opened_once(
    asks: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = asks("--no-prompt", says=["SELECT 1", "SELECT 2"], typed=b"\xef\xbb\xbfFirst?\r\n\n  \nSecond?")
    assert (done.returncode, done.stderr) == (0, "")
    assert [prompt.splitlines()[-2] for prompt in done.args.prompts] == ["question: First?", "question: Second?"]
    assert done.stdout.count("1 row\n") == 2


def test_a_question_that_is_not_utf_8_costs_no_other(asks: Asks) -> None:
    done = asks("--no-prompt", says=["SELECT 1", "SELECT 2"], typed=b"First?\nWh\xff?\nThird?\n")
    assert (done.returncode, done.stdout.count("1 row\n")) == (2, 2)
    assert done.stderr == "error: the question 'Wh\\udcff?' is not UTF-8; write it in UTF-8\n"


def test_a_prompt_that_is_too_long_costs_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = b"name " * 200 + b"\nWho?\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
    done = run_here(ask.main, folder, *FLAGS, "--json")
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1)
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "does not fit the model's context beside the 6 tokens of an answer (`evaluate.max_tokens`)" in error


def test_a_single_prompt_that_is_too_long_ends_with_status_2(folder: Path) -> None:
    done = run_here(ask.main, folder, *FLAGS, "name " * 200)
    assert (done.returncode, done.stdout) == (2, "")
    assert "does not fit the model's context" in done.stderr and "ask a shorter question" in done.stderr


def test_a_schema_that_is_too_long_is_told(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Saying, "sample", lambda *_: [[]])
    done = asks("Who?")
    assert done.returncode == 2 and "question" not in done.stderr
    assert done.stderr.startswith(f"error: the schema of {DATABASE} is too long for the model's context beside ")


def test_when_the_reader_of_the_answers_is_gone_no_further_question_is_read(folder: Path) -> None:
    script = (
        "from stages import ask; from stages.core.errors import run_stage; from tests.test_ask import Saying\n"
        "ask.open_engine = lambda *_, **__: Saying(*['SELECT 1'] * 1000)\nrun_stage(ask.main)"
    )
    with subprocess.Popen(["yes", "Who?"], stdout=subprocess.PIPE) as questions:
        process = subprocess.Popen(
            [sys.executable, "-c", script, *FLAGS, "--no-prompt"], env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=questions.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout and process.stderr and questions.stdout
        assert process.stdout.readline() == b"question\n"
        process.stdout.close()
        questions.stdout.close()
        assert (process.stderr.read(), process.wait(timeout=60)) == (b"", 0)


def test_a_database_that_changes_between_two_questions_is_refused(asks: Asks, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_and_run(*arguments: Any) -> Any:
        result = query_rows(*arguments)
        with sqlite3.connect(DATABASE) as connection:
            connection.execute("DELETE FROM album")
        connection.close()
        return result

    monkeypatch.setattr("stages.asking.answers.query_rows", write_and_run)
    done = asks(says=["SELECT 1"] * 2, typed=b"First?\nSecond?\n")
    assert (done.returncode, done.stdout, done.stderr.count("was changed while it was being read")) == (2, "", 2)


def on_terminal(typed: bytes, *flags: str, into: IO[bytes] | None = None) -> tuple[int, str]:
    """Status and output of the command where a person types this; `\\x03` and `\\x04` are Ctrl-C and Ctrl-D. `into`:
    where its standard output is redirected."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stages.ask", *FLAGS, *flags]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=into or theirs, stderr=theirs, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    output, sent, end = b"", False, time.monotonic() + 120
    while time.monotonic() < end:
        try:
            output += os.read(ours, 4096)
        except OSError:  # the process has closed it
            break
        if not sent and b"question> " in output:
            time.sleep(0.3)  # a Ctrl-C between readline's prompt and its wait is lost until the next key
            os.write(ours, typed)
            sent = True
    os.close(ours)
    return process.wait(timeout=60), output.decode().replace("\r\n", "\n")


@pytest.mark.usefixtures("heeded_interrupts")
@pytest.mark.parametrize(
    ("typed", "status", "times"),
    [(b"Who?\nWhat?\n\n", 0, 3), (b"Who?\n\x04", 0, 2), (b"\x03", 130, 1)],
)
def test_on_a_terminal_it_asks_until_an_empty_line_the_end_or_ctrl_c(
    folder: Path, typed: bytes, status: int, times: int
) -> None:
    ended, output = on_terminal(typed, "--no-prompt")
    assert (ended, output.count("question> ")) == (status, times)
    assert "one question a line; an empty line ends\n" in output and "Traceback" not in output
    assert not re.search("^question$", output, re.MULTILINE)  # what was typed is on the terminal already
    assert ("\ninterrupted\n" in output) == (status == 130)


def test_on_a_terminal_prompts_are_not_for_the_file_of_the_answers(folder: Path) -> None:
    with Path("answers.txt").open("wb") as file:
        status, output = on_terminal(b"Who?\n\x04", "--no-prompt", into=file)
    assert (status, output.count("question> ")) == (0, 2)
    answers = Path("answers.txt").read_text()
    assert answers.startswith("question\n  Who?\n") and "question> " not in answers


@pytest.mark.usefixtures("heeded_interrupts")
def test_ctrl_c_during_a_query_leaves_no_process(folder: Path) -> None:
    write_sections(step_budget=10**12, wall_seconds=600)
    script = (
        "import sys; from stages import ask; from stages.core.errors import run_stage; "
        "from tests.test_ask import Saying, ENDLESS\n"
        "ask.open_engine = lambda *_, **__: Saying(ENDLESS)\nrun_stage(ask.main)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *FLAGS, "Who?"], env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 60
    while len(workers := children.read_text().split()) < 2:  # the resource tracker, and the worker
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=60)
    assert (process.returncode, output, error) == (130, "", "interrupted\n")
    while any(map(is_running, workers)):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_running(process: str) -> bool:
    """Whether a process is there and is more than the record of one that has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---- what is refused ----


def refused(folder: Path, *flags: str) -> list[str]:
    done = run_here(ask.main, folder, *flags)
    assert (done.returncode, done.stdout) == (2, "")
    return [line.removeprefix("error: ") for line in done.stderr.splitlines()]


def make_bad(path: Path, kind: str) -> None:
    match kind:
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "text":
            path.write_text("CREATE TABLE singer(name);")
        case "without tables":
            with sqlite3.connect(path) as connection:
                connection.execute("PRAGMA user_version = 3")
            connection.close()
        case "cut":
            path.write_bytes(Path(DATABASE).read_bytes()[:5000])
        case "wal":
            path.write_bytes(Path(DATABASE).read_bytes())
            path.with_name(f"{path.name}-wal").write_bytes(b"x")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("missing", "--database bad.sqlite is no file; give the path of one"),
        ("directory", "--database bad.sqlite is no file; give the path of one"),
        ("fifo", "--database bad.sqlite is no file; give the path of one"),
        ("empty", "bad.sqlite is not an SQLite database (it is empty); give the path of another file"),
        ("text", "bad.sqlite is not an SQLite database (file is not a database); give the path of another file"),
        ("without tables", "bad.sqlite holds no tables; give the path of another file"),
        ("cut", "bad.sqlite is not an SQLite database (database disk image is malformed); give the path of another "
                "file"),
        ("wal", "{folder}/bad.sqlite-wal holds changes that bad.sqlite lacks; open the database once with `sqlite3` "
                "and close it"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(folder: Path, kind: str, sentence: str) -> None:
    make_bad(folder / "bad.sqlite", kind)
    before = sorted(folder.rglob("*"))
    assert refused(folder, "--model=model", "--database=bad.sqlite", "Who?") == [sentence.format(folder=folder)]
    assert sorted(folder.rglob("*")) == before


def test_all_mistakes_are_told_at_once_before_the_model_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "open_engine", None)
    (folder / "model" / "model.safetensors").unlink()
    write_params(evaluate={}, execution=EXECUTION, prompts=PLAIN | {"evidence": False}, gold={"step_budget": 1})
    flags = ("--model=model", "--revision=v1", "--database=absent", "--evidence=none", "  ")
    sentences = refused(folder, *flags)
    assert [sentence.split("; ")[0] for sentence in sentences if "`evaluate." not in sentence] == [
        "the question is blank", "--revision is v1, but --model model is a folder", "--database absent is no file",
        "--evidence is none, but `prompts.evidence` is false",
        "the model `model` has no weights in safetensors, and pickled ones can run code",
    ]  # fmt: skip
    assert len(sentences) > 5


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("absent", "`absent` is no folder, and no "),
        ("data", "`data` is no model: there is no config.json"),
        ("params.yaml", "--model params.yaml is a file; give the folder of a model"),
        ("", "--model is empty; give the folder of a model, or a Hub id"),
    ],
)
def test_what_is_no_model_is_refused(folder: Path, name: str, sentence: str) -> None:
    (message,) = refused(folder, f"--model={name}", f"--database={DATABASE}", "Who?")
    assert message.startswith(sentence)


def test_a_model_of_the_hub_is_asked_at_its_revision(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_of(monkeypatch, folder) as hub:
        sha = hub.model("someone/tiny").commit({file.name: file.read_bytes() for file in Path("model").iterdir()})
        flags = ("--model=someone/tiny", f"--revision={sha}", f"--database={DATABASE}", "Who?")
        assert run_here(ask.main, folder, *flags).stdout.startswith("prompt\n")


def test_no_model_is_downloaded_for_a_database_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_of(monkeypatch, folder) as hub:
        assert len(refused(folder, "--model=a/b", "--database=absent", "Who?")) == 1
        assert not hub.asked


def test_a_closed_standard_input_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert refused(folder, *FLAGS) == ["standard input is closed; give a question"]
