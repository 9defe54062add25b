from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError

from stages.candidates import CandidatesParams
from stages.core.errors import UserError
from stages.core.params import Params, read_params, read_sections
from stages.corpora.demo.corpus import DemoParams
from stages.corpus import CorpusParams
from stages.evaluate import EvaluateParams
from stages.pairs import PairsParams


class Size(Params):
    width: int
    depth: int


class Sample(Params):
    rate: float = Field(gt=0)
    steps: int = Field(ge=1)
    mode: Literal["all", "some"]
    limit: int | None
    size: Size | None = None


GOOD = "sample: {rate: 1e-06, steps: 3, mode: all, limit: null}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def read(file: Path, text: str, section: str = "sample") -> Sample:
    file.write_text(text, encoding="utf-8")
    return read_params(section, Sample, file)


def test_a_section_is_read_as_its_model(file: Path) -> None:
    assert read(file, GOOD) == Sample(rate=1e-6, steps=3, mode="all", limit=None)


@pytest.mark.parametrize("number", ["1e-06", "1E-6", "0.000001", "1.0e-6"])
def test_a_number_is_a_number_however_dvc_writes_it(number: str, file: Path) -> None:
    assert read(file, GOOD.replace("1e-06", number)).rate == 1e-6


def test_a_section_may_be_nested(file: Path) -> None:
    assert read(file, f"role:\n  {GOOD}", "role.sample").steps == 3


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("steps: 3", "steps: '3'", "`sample.steps` is '3'; input should be a valid integer"),
        ("steps: 3", "steps: true", "`sample.steps` is True; input should be a valid integer"),
        ("steps: 3", "steps: 3.0", "`sample.steps` is 3.0; input should be a valid integer"),
        ("steps: 3", "steps: 0", "`sample.steps` is 0; input should be greater than or equal to 1"),
        ("mode: all", "mode: none", "`sample.mode` is 'none'; input should be 'all' or 'some'"),
        ("steps: 3, ", "", "`sample.steps` is missing; set it"),
        ("steps: 3", "step: 3, steps: 3", "`sample.step` is not a param; `sample` knows: rate, steps, mode, limit"),
        ("steps: 3", "steps: 3, size: {width: 1, depth: 2, height: 3}",
         "`sample.size.height` is not a param; `sample.size` knows: width, depth"),
    ],
)
def test_a_wrong_param_is_told_with_its_name_and_value(good: str, bad: str, told: str, file: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(file, GOOD.replace(good, bad))
    assert [sentence.startswith(f"{file}: {told}") for sentence in caught.value.sentences] == [True]


def test_all_wrong_params_are_told_at_once(file: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(file, "sample: {rate: 0.0, step: 3, mode: every, limit: x}")
    assert len(caught.value.sentences) == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("other: {}", "has no section `sample`"),
        ("sample: [", "is not valid YAML"),
        ("sample: {a: 1, a: 2}", "is not valid YAML"),
        ("- 1", "holds no sections"),
        ("", "holds no sections"),
    ],
)
def test_a_file_without_the_section_is_told(text: str, told: str, file: Path) -> None:
    with pytest.raises(UserError, match=told):
        read(file, text)


def test_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(UserError, match="does not exist; run this from the root"):
        read_sections(file)


def test_params_do_not_change_after_reading(file: Path) -> None:
    with pytest.raises(ValidationError):
        read(file, GOOD).steps = 4


@pytest.mark.parametrize(("content", "told"), [(None, "cannot be read .Is a directory."), (b"a: \xff", "is not UTF-8")])
def test_what_is_no_text_file_is_told(content: bytes | None, told: str, file: Path) -> None:
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_sections(file)


def test_a_long_wrong_value_is_cut(file: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(file, GOOD.replace("mode: all", f"mode: {'x' * 5000}"))
    assert len(caught.value.sentences[0]) < 300


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
def test_a_number_without_end_is_refused_by_every_section(number: str, file: Path) -> None:
    with pytest.raises(UserError, match=r"`sample.rate` is -?(inf|nan); input should be a finite number"):
        read(file, GOOD.replace("1e-06", number))


@pytest.mark.parametrize("model", [CandidatesParams, CorpusParams, DemoParams, EvaluateParams, PairsParams])
def test_a_seed_fits_into_64_bits(model: type[Params]) -> None:
    with pytest.raises(ValidationError, match=r"seed\n  Input should be less than 9223372036854775808"):
        model.model_validate({"seed": 2**63})
