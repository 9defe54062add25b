"""The cards of what is published: the front matter that the Hub reads, and a page that a template renders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
)

from stages.core.display import page_value
from stages.core.errors import UserError
from stages.publishing.configs import columns_of, features_of
from stages.publishing.licences import OTHER
from stages.publishing.release_info import Making
from stages.publishing.shards import Counts

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
_TASK = {"type": "text-generation", "name": "Text-to-SQL"}


def dataset_front(making: Making, counts: Counts, sizes: Counts) -> dict[str, Any]:
    """The front matter of a dataset card: licences, size, configs with their files, columns, rows and bytes a split."""
    rows = sum(sum(splits.values()) for splits in counts.values())
    origins = [*(origin for origin in making.origins if origin.published), *making.behind_candidates()]
    return {
        "pretty_name": making.dataset.rpartition("/")[2],
        "license": sorted({origin.licence for origin in origins}) or [OTHER],
        "language": making.languages,
        "task_categories": ["text-generation"],
        "tags": ["text-to-sql", "sql", "preference", "dpo", "sft"],
        "size_categories": [next((name for most, name in _SIZES.items() if rows < most), "10M<n<100M")],
        "configs": [
            {"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"} for split in splits]}
            | ({"default": True} if config == "pairs" else {})
            for config, splits in counts.items()
        ],
        "dataset_info": [
            {
                "config_name": config,
                "features": [{"name": name, "dtype": features_of(config)[name].dtype} for name in columns_of(config)],
                "splits": [
                    {"name": split, "num_bytes": sizes[config][split], "num_examples": number}
                    for split, number in splits.items()
                ],
            }
            for config, splits in counts.items()
        ],
    }  # fmt: skip


def model_front(
    name: str, licence: str, base: str | None, making: Making, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The front matter of a model card. `results`: test set to the figures of `evaluate`; they go into the Hub's
    `model-index`, which links them to the dataset at this version."""
    index = [
        {
            "task": dict(_TASK),  # a copy, or YAML would have an alias
            "dataset": _test_set(test_set, making),
            "metrics": [
                {"type": "execution_accuracy", "name": "EX", "value": figures["ex"]},
                *(
                    {"type": f"pass_at_{k}", "name": f"pass@{k}", "value": value}
                    for k, value in figures["pass_at"].items()
                ),
                *(
                    {"type": f"maj_at_{k}", "name": f"maj@{k}", "value": value}
                    for k, value in figures["maj_at"].items() if int(k) > 1
                ),
            ],
        }
        for test_set, figures in results.items()
    ]  # fmt: skip
    return {
        "license": licence, "language": making.languages, "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": [base]} if base else {}), "datasets": [making.dataset], "tags": ["text-to-sql", "sql"],
        **({"model-index": [{"name": name, "results": index}]} if index else {}),
    }  # fmt: skip


def _test_set(name: str, making: Making) -> dict[str, str]:
    """The split of the dataset that holds a test set; just its name, where that is left out of the dataset."""
    source, _, split = name.rpartition("-")
    if any(origin.name == source and origin.published for origin in making.origins):
        return {"name": name, "type": making.dataset, "config": "gold", "split": split, "revision": making.version}
    return {"name": name, "type": source}


def render(template: Path, front: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """The card. Raises UserError where the template cannot be read or rendered, or names a fact that there is not."""
    environment = Environment(
        loader=FileSystemLoader(template.parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=page_value, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "yaml": to_yaml}
    try:
        page = environment.get_template(template.name).render(facts)
    except UndefinedError as error:
        known = ", ".join(sorted(facts))
        raise UserError(f"{template} names something that there is not ({error}); what it may name: {known}") from None
    except TemplateSyntaxError as error:
        raise UserError(f"{template}, line {error.lineno}, is no Jinja ({error.message}); correct it") from None
    except TemplateNotFound as error:
        raise UserError(f"{template.parent / str(error)} is not there; restore it from the last commit") from None
    except (TypeError, ValueError, ZeroDivisionError, KeyError) as error:  # what a template does to facts
        raise UserError(f"{template} cannot be rendered ({type(error).__name__}: {error}); correct it") from None
    return f"---\n{to_yaml(front)}---\n\n{page}"


def to_yaml(value: object) -> str:
    """As YAML, in the order given."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000)
    return text


def cell(value: object) -> str:
    """A value as the text of a cell in a Markdown table, whatever is in it."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
