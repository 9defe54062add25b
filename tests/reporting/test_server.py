"""What the server answers, and whom."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from stages.core.errors import UserError
from stages.reporting.metrics import MODELS
from stages.reporting.question_index import QuestionIndex
from stages.reporting.records import Tables
from stages.reporting.server import HOST, application, listening_socket
from stages.reporting.sources import open_for_server, rows_of_question, served_files
from tests.reporting.world import TEST_SET, tables_of, write_world


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("world"))
        write_world()
        datasets, files = open_for_server(MODELS, [TEST_SET]), served_files()

        def tables(question_id: str) -> Tables | None:
            rows = rows_of_question(question_id, datasets, files)
            return None if rows is None else tables_of(rows)

        app = application("<p>page</p>", QuestionIndex(datasets, "strict"), tables, Path("gold.html"))
        with TestClient(app, base_url=f"http://{HOST}:8800") as client:
            yield client


def test_the_root_is_the_page(client: TestClient) -> None:
    response = client.get("/")
    assert response.text == "<p>page</p>" and response.headers["content-type"].startswith("text/html")
    assert client.get("/index.html").text == "<p>page</p>"


def test_the_page_of_the_audit_is_there_once_it_is_made(client: TestClient) -> None:
    assert client.get("/gold.html").status_code == 404
    Path("gold.html").write_text("audit")
    assert client.get("/gold.html").text == "audit"


def test_a_list_has_its_filters_in_the_address(client: TestClient) -> None:
    page = client.get("/api/questions", params={"split": "train", "limit": "2"}).json()
    assert page["total"] == 3 and len(page["rows"]) == 2


def test_a_question_has_its_tables_and_no_others(client: TestClient) -> None:
    tables = client.get("/api/question", params={"id": "demo/train/0000"}).json()
    assert tables["questions"]["rows"] == tables["databases"]["rows"] == 1 and tables["candidates"]["rows"] == 6
    assert tables["answers"]["rows"] == 0 and tables["pairs"]["columns"]["question"] == [0]


def test_an_item_of_the_strong_model_is_a_question_too(client: TestClient) -> None:
    tables = client.get("/api/question", params={"id": "strong/1"}).json()
    assert tables["questions"]["columns"]["flags"] == ["refused_outvoted"]


def test_two_models_are_compared(client: TestClient) -> None:
    compared = client.get("/api/compare", params={"a": "sft/strong", "b": "dpo"}).json()
    assert compared["counts"]["won"] == 1


@pytest.mark.parametrize(
    "path, status",
    [
        ("/api/question?id=none", 404),
        ("/api/question", 404),
        ("/api/questions?offset=-1", 400),
        ("/api/questions?limit=99999999999", 400),
        (f"/api/questions?text={'a%20' * 15_000}", 400),
        ("/api/compare?a=dpo&b=dpo&show=x", 400),
        ("/../params.yaml", 404),
        ("/data/questions.parquet", 404),
    ],
)
def test_what_is_not_there_or_cannot_be_read_is_refused(client: TestClient, path: str, status: int) -> None:
    assert client.get(path).status_code == status


@pytest.mark.parametrize("host", ["example.org", "127.0.0.1.example.org", "0.0.0.0", "", "[::1]"])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/api/questions", headers={"Host": host}).status_code == 400


def test_a_request_that_the_browser_calls_cross_site_is_refused(client: TestClient) -> None:
    assert client.get("/api/questions", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_a_dataset_that_changes_while_it_is_served_is_a_sentence(client: TestClient) -> None:
    file = Path("data/candidates.parquet")
    content = file.read_bytes()
    for change in (lambda: file.write_bytes(content + b" "), file.unlink):
        change()
        response = client.get("/api/question", params={"id": "demo/train/0000"})
        assert response.status_code == 400 and str(file) in response.json()["error"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/questions", "/api/question?id=demo/train/0000", "/gold.html"])
def test_no_route_writes(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 405


def test_no_response_allows_another_origin_or_is_kept(client: TestClient) -> None:
    headers = client.get("/api/questions", headers={"Origin": "http://example.org"}).headers
    assert "access-control-allow-origin" not in headers and headers["cache-control"] == "no-store"


def test_it_listens_on_this_machine_alone_and_a_taken_port_is_a_sentence() -> None:
    listener = listening_socket(0)
    host, port = listener.getsockname()
    listener.listen()
    assert host == "127.0.0.1"
    with pytest.raises(UserError, match=f"--port {port} cannot be used .*; choose another port"):
        listening_socket(port)
    listener.close()
