"""Renders the cards of datasets and models: the metadata that the Hub reads, and a page from a Markdown template."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import CardData, DatasetCardData, EvalResult, ModelCardData
from huggingface_hub.repocard_data import eval_results_to_model_index
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, UndefinedError

from stages.core.display import page_value
from stages.core.errors import UserError
from stages.publishing.configs import columns_of, features_of
from stages.publishing.licences import OTHER
from stages.publishing.release_info import ReleaseInfo
from stages.publishing.shards import Counts

_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
_TASK = "text-generation"


def dataset_metadata(info: ReleaseInfo, counts: Counts, sizes: Counts) -> DatasetCardData:
    """Licences, size, and configs with their files, columns, and rows and bytes of each split."""
    rows = sum(sum(splits.values()) for splits in counts.values())
    origins = [*(origin for origin in info.origins if origin.published), *info.writers()]
    return DatasetCardData(
        pretty_name=info.dataset.rpartition("/")[2],
        license=sorted({origin.licence for origin in origins}) or [OTHER],
        language=info.languages,
        task_categories=[_TASK],
        size_categories=[next((name for limit, name in _SIZES.items() if rows < limit), "10M<n<100M")],
        tags=["text-to-sql", "sql", "preference", "dpo", "sft"],
        configs=[
            {"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"} for split in splits]}
            | ({"default": True} if config == "pairs" else {})
            for config, splits in counts.items()
        ],
        dataset_info=[
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
    )


def model_metadata(
    name: str, licence: str, base: str | None, info: ReleaseInfo, evaluations: Mapping[str, Mapping[str, Any]]
) -> ModelCardData:
    """Licence, base model, dataset and results. `evaluations`: test set to the figures of `evaluate`."""
    metadata = ModelCardData(
        license=licence, language=info.languages, library_name="transformers", pipeline_tag=_TASK,
        base_model=[base] if base else None, datasets=[info.dataset], tags=["text-to-sql", "sql"],
    )  # fmt: skip
    if evaluations:  # one index a test set: the library would put those of the same split into one
        indexes = [
            eval_results_to_model_index(name, _eval_results(test_set, figures, info))
            for test_set, figures in evaluations.items()
        ]
        metadata["model-index"] = [{"name": name, "results": [index[0]["results"][0] for index in indexes]}]
    return metadata


def _eval_results(test_set: str, figures: Mapping[str, Any], info: ReleaseInfo) -> list[EvalResult]:
    """EX, pass@k and maj@k on a test set, linked to the dataset at this version where the test set is part of it."""
    source, _, split = test_set.rpartition("-")
    published = any(origin.name == source and origin.published for origin in info.origins)
    metrics = [("execution_accuracy", "EX", figures["ex"])]
    metrics += [(f"pass_at_{k}", f"pass@{k}", value) for k, value in figures["pass_at"].items()]
    metrics += [(f"maj_at_{k}", f"maj@{k}", value) for k, value in figures["maj_at"].items() if int(k) > 1]
    return [
        EvalResult(
            task_type=_TASK, task_name="Text-to-SQL", dataset_name=test_set,
            dataset_type=info.dataset if published else source, dataset_config="gold" if published else None,
            dataset_split=split if published else None, dataset_revision=info.version if published else None,
            metric_type=metric_type, metric_name=metric_name, metric_value=value,
        )
        for metric_type, metric_name, value in metrics
    ]  # fmt: skip


def render_card(template: Path, metadata: CardData, facts: Mapping[str, Any]) -> str:
    """The card. Raises UserError where the template cannot be read or rendered, or names an unknown fact."""
    environment = Environment(
        loader=FileSystemLoader(template.parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=page_value, keep_trailing_newline=True,
    )  # fmt: skip
    to_yaml = partial(yaml.safe_dump, sort_keys=False, allow_unicode=True, width=1000)
    environment.filters |= {"cell": _table_cell, "yaml": to_yaml}
    try:
        page = environment.get_template(template.name).render(facts)
    except UndefinedError as error:
        available = ", ".join(sorted(facts))
        raise UserError(f"{template} names an unknown fact ({error}); the facts are: {available}") from None
    except TemplateSyntaxError as error:
        raise UserError(f"{template}, line {error.lineno}, is no Jinja ({error.message}); correct it") from None
    except TemplateNotFound as error:
        raise UserError(f"{template.parent / str(error)} does not exist; restore it from the last commit") from None
    except (TypeError, ValueError, ZeroDivisionError, KeyError) as error:  # what a template does to facts
        raise UserError(f"{template} cannot be rendered ({type(error).__name__}: {error}); correct it") from None
    return f"---\n{metadata.to_yaml()}\n---\n\n{page}"


def _table_cell(value: object) -> str:
    """A value as the text of a cell in a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
