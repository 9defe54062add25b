"""How much do the checks of strong data find, and how fast? `python -m tests.benchmarks.strong_data [part …]`

- `mistakes`: the demo's strong model knows its own mistakes. A Markdown table of how many of each group are refused, by
  the checks alone and with three votes, and how many right items are lost; no repair.
- `rate`: items that are checked in a minute, with an empty cache: the databases built, the checks, three votes each.
  Beside it in the same run: `sqlite3` executing each item's SQL once.
- `endpoint`: requests to an endpoint on loopback that answers after 200 ms, against the ideal time at 16 at once.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.cache.result_cache import Cache
from stages.core.params import read_params
from stages.corpora.demo.corpus import DemoParams
from stages.execution.params import ExecutionParams
from stages.execution.worker_pool import local, usable_cpus
from stages.synthesis.answers import AnswerError, DatabaseDraft, parse_answer
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.demo_model import DemoModel
from stages.synthesis.endpoint_model import EndpointModel
from stages.synthesis.item_checks import Verifier
from stages.synthesis.items import Item
from stages.synthesis.mistakes import BROKEN_ROWS, BROKEN_SQL, BROKEN_TEXT, WRONG_SQL
from stages.synthesis.requests import ask_database, ask_vote
from stages.synthesis.strong_model import BudgetedModel, BudgetParams
from stages.synthesis.synthesizer import ModelSource
from stages.synthesis.taxonomy import read_taxonomy

ITEMS = 5_000
RATE = 0.2
VOTES = 3
REQUESTS, CONCURRENCY, LATENCY = 2_400, 16, 0.2
NO_LIMIT = BudgetParams(requests=None, tokens=None, cost=None)
LIMITS = ExecutionParams(wall_seconds=60.0, memory_mb=1024, max_rows=500_000, result_mb=200).limits()
GROUPS = {
    "broken JSON, cut answer": BROKEN_TEXT,
    "a schema that does not build, or that its rows do not keep": BROKEN_ROWS,
    "SQL that fails or returns nothing": BROKEN_SQL,
    "SQL that answers another question": WRONG_SQL,
}


def demo_items(folder: Path, items: int) -> tuple[DemoModel, DatabaseMaker, list[Item]]:
    """The demo's strong model, and the items that it made, which are not checked yet."""
    demo = DemoModel(1, read_params("corpus.demo", DemoParams), RATE)
    model = BudgetedModel(demo, NO_LIMIT)
    maker = DatabaseMaker(folder / "databases", LIMITS, local(usable_cpus()), repair_rounds=0)
    source = ModelSource(model, maker, read_taxonomy(), demo.domains, 8, [], 1)
    return demo, maker, source.next_items(items)


def mistakes() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        demo, maker, items = demo_items(folder, ITEMS)
        verifier = Verifier(50_000_000, LIMITS, local(usable_cpus()), Cache(folder / "cache"))
        verifier.check(items)
        refused_alone = {item.item_id for item in items if item.refusal}
        add_votes(demo, [item for item in items if not item.refusal])
        verifier.count_votes([item for item in items if not item.refusal])
        by_mistake = {item.item_id: demo.mistakes[f"question/{item.item_id}/1"] for item in items}
        first = ("question/", "database/")
        kinds = Counter(kind for name, kind in demo.mistakes.items() if name.startswith(first))
        print("| mistake | made | refused by the checks | with three votes |\n|---|---|---|---|")
        for label, group in GROUPS.items():
            planted = [item for item in items if by_mistake[item.item_id] in group]
            if group in (BROKEN_TEXT, BROKEN_ROWS):  # these never become items
                made = sum(kinds[kind] for kind in group)
                alone = made - (len(planted) if group == BROKEN_TEXT else used_in_vain(demo, maker))
                both = alone
            else:
                made = len(planted)
                alone = sum(item.item_id in refused_alone for item in planted)
                both = sum(bool(item.refusal) for item in planted)
            print(f"| {label} | {made:,} | {alone / made:.1%} | {both / made:.1%} |")
        right = [item for item in items if not by_mistake[item.item_id]]
        ties = sum(item.refusal == "limit_tie" for item in right)
        alone = sum(item.item_id in refused_alone for item in right) - ties
        both = sum(bool(item.refusal) for item in right) - ties
        count = len(right) - ties
        print(f"| none (right ones lost) | {count:,} | {alone / count:.1%} | {both / count:.1%} |")
        print(f"| none, but the result depends on a tie | {ties:,} | 100.0% | 100.0% |")


def used_in_vain(demo: DemoModel, maker: DatabaseMaker) -> int:
    """Databases with a mistake that could be built."""
    built = {path.name for path in maker.folder.iterdir()}
    return sum(kind in BROKEN_ROWS and name.split("/")[1] in built for name, kind in demo.mistakes.items())


def add_votes(demo: DemoModel, items: Sequence[Item]) -> None:
    for item in items:
        database = item.database
        requests = [
            ask_vote(item.item_id, database.db_id, database.domain, database.ddl, item.question, number)
            for number in range(1, VOTES + 1)
        ]  # fmt: skip
        item.votes = [json_sql(answer.text) for answer in demo.answer(requests)]


def json_sql(text: str) -> str:
    try:
        return str(json.loads(text)["sql"])
    except ValueError:
        return ""


def rate() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        demo, _, items = demo_items(folder, ITEMS)
        drafts = list(drafts_of(demo, {item.database.db_id: item.database.domain for item in items}))
        again = DatabaseMaker(folder / "again", LIMITS, local(usable_cpus()), repair_rounds=0)
        start = time.perf_counter()
        again.add(drafts)
        built = time.perf_counter() - start
        verifier = Verifier(50_000_000, LIMITS, local(usable_cpus()), Cache(folder / "cache"))
        start = time.perf_counter()
        verifier.check(items)
        checked = time.perf_counter() - start
        kept = [item for item in items if not item.refusal]
        add_votes(demo, kept)
        start = time.perf_counter()
        verifier.count_votes(kept)
        voted = time.perf_counter() - start
        start = time.perf_counter()
        for item in items:
            with closing(sqlite3.connect(item.database.file)) as connection, suppress(sqlite3.Error):
                connection.execute(item.sql).fetchall()
        floor = time.perf_counter() - start
    minute = 60 * len(items) / (built + checked + voted)
    print(f"rate: {len(items):,} items, {minute:,.0f} a minute: {len(drafts)} databases {built:.1f} s, "
          f"checks {checked:.1f} s, {VOTES} votes each {voted:.1f} s; "
          f"sqlite3, each SQL once: {floor:.1f} s, ratio {(checked + voted) / floor:.1f}")  # fmt: skip


def drafts_of(demo: DemoModel, domains: dict[str, str]) -> Iterator[tuple[str, str, DatabaseDraft]]:
    """db_id, domain and the right draft of each database."""
    for db_id, domain in domains.items():
        [answer] = demo.answer([ask_database(db_id, domain, 3)])
        with suppress(AnswerError):
            yield db_id, domain, parse_answer(answer.text, "stop", DatabaseDraft)


def serve(ports: Any) -> None:
    """An endpoint that answers every chat request after LATENCY."""
    body = json.dumps({
        "choices": [{"message": {"content": '{"sql": "SELECT 1"}'}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }).encode()  # fmt: skip
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = (await reader.readuntil(b"\r\n\r\n")).lower()
            except asyncio.IncompleteReadError:
                return
            await reader.readexactly(int(request.split(b"content-length:")[1].split(b"\r\n")[0]))
            await asyncio.sleep(LATENCY)
            writer.write(head + body)
            await writer.drain()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports.put(server.sockets[0].getsockname()[1])
        async with server:
            await server.serve_forever()

    asyncio.run(run())


def endpoint() -> None:
    ports: Any = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    os.environ |= {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{ports.get()}/v1", "OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1",
        "SENSE_OPENAI_CONCURRENCY": str(CONCURRENCY),
    }  # fmt: skip
    with TemporaryDirectory() as name:
        file = Path(name) / "endpoint.yaml"
        settings = "model: m, version: '1', api: chat, logprobs: false, input_price: null, output_price: null"
        file.write_text(f"endpoint: {{{settings}}}")
        model = EndpointModel(file, 0.8, 100, 1, Cache(Path(name) / "cache"))
        ddl = "CREATE TABLE t(x)"
        requests = [ask_vote(f"item/{number}", "db", "domain", ddl, "How many?", 1) for number in range(REQUESTS)]
        model.answer(requests[:CONCURRENCY])  # opens the connections, imports the client
        start = time.perf_counter()
        model.answer(requests[CONCURRENCY:])
        seconds = time.perf_counter() - start
    server.kill()
    count = REQUESTS - CONCURRENCY
    ideal = count / CONCURRENCY * LATENCY
    print(f"endpoint: {count} requests of {LATENCY * 1000:.0f} ms, {CONCURRENCY} at once: {seconds:.2f} s; "
          f"ideal {ideal:.2f} s: {ideal / seconds:.1%} of the ideal rate")  # fmt: skip


PARTS = {"mistakes": mistakes, "rate": rate, "endpoint": endpoint}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"any of {', '.join(PARTS)}")
    for part in parser.parse_args().parts:
        PARTS[part]()
