"""Compares the DVC experiments of a sweep: EX of one model on one test set, and its difference from the baseline.

The experiments are those that began at the current commit, or at --rev. Prints a Markdown table with a row for each
one: the params that differ between them, its pairs, EX in per cent under `evaluate.contract` of params.yaml, and the
difference on the same questions, with its 95 % interval. Answers that DVC's cache lacks are fetched from the remote.
Experiments that cannot be compared are named with the reason.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.comparing.answers import committed_files, contents_at, right_answers, stale_inputs
from stages.core.display import show
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import write_json
from stages.core.layout import answers_file, report_file
from stages.core.params import read_params
from stages.diffing.dvc_files import numbers_of
from stages.diffing.revisions import commit_of, in_git, texts_at
from stages.evaluate import EvaluateParams
from stages.execution.cli_flags import check_paths
from stages.reporting.metrics import MODELS
from stages.scoring.sweep import Setting, sweep_figures, sweep_table

UNFINISHED = {
    "failed": "it failed; `dvc queue logs {name}` tells why",
    "queued": "it is still queued; `dvc queue start` runs it",
    "running": "it is still running; wait for its end",
}


def experiments_of(commit: str) -> tuple[dict[str, str], dict[str, str]]:
    """The experiments that began at a commit, by name: the commit of each one that ended well, and of the others why
    there is none. Raises UserError where DVC cannot read its own queue, as after a kill."""
    from dvc.repo import Repo

    done, left_out = {}, {}
    try:
        with Repo() as repo:
            [state] = repo.experiments.show(revs=commit, hide_workspace=True)
    except FileNotFoundError as error:
        fix = "delete the folder .dvc/tmp/exps, and call `git update-ref -d refs/exps/celery/stash`"
        raise UserError(f"DVC's queue of experiments was killed, and lacks {error.filename}; {fix}") from error
    for experiment in state.experiments or []:
        last = experiment.revs[0].rev
        name = experiment.name or last[:7]
        reason = UNFINISHED.get(experiment.executor.state) if experiment.executor else None
        if reason:
            left_out[name] = reason.format(name=name)
        else:
            done[name] = last
    return done, left_out


def setting_at(name: str, commit: str, model: str, test_set: str, contract: str) -> Setting:
    """The params, pairs and answers of a revision. Raises UserError where a part of them is not there, or is of other
    params."""
    report, contents = str(report_file("pairs")), contents_at(name, commit)
    [pairs] = texts_at(commit, [report])
    if pairs is None:
        raise UserError(f"it has no {report}; run its pipeline to the end")
    if stale := stale_inputs(contents, model, test_set):
        raise UserError(f"its answers are older than their inputs ({', '.join(stale)}); run its pipeline to the end")
    [answers] = committed_files(name, commit, contents, answers_file(model, test_set))
    right = right_answers(answers, contract)
    return Setting(name, contents.params, int(numbers_of(pairs, f"{name}: {report}")["out"]), right)


def commit_at(flag: str, name: str) -> str:
    """The commit of the revision or experiment that a flag names. Raises UserError where there is none."""
    commit = commit_of(name)
    if commit is None:
        raise UserError(f"{flag} {name} is no revision and no experiment; `dvc exp list` names the experiments")
    return commit


def settings_at(
    commits: Mapping[str, str], baseline: Setting, model: str, test_set: str, contract: str
) -> tuple[list[Setting], dict[str, str]]:
    """The settings of experiments, by name and commit; and why others cannot be compared with the baseline."""
    settings, left_out = [], {}
    for name, commit in commits.items():
        try:
            setting = setting_at(name, commit, model, test_set, contract)
        except UserError as error:
            left_out[name] = str(error).removeprefix(f"{name}: ")
            continue
        if setting.right["question_id"].equals(baseline.right["question_id"]):
            settings.append(setting)
        else:
            left_out[name] = f"it answers other questions than {baseline.name}"
    return settings, left_out


def sweep(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of all experiments that can be compared, and `left_out`: the others, each with the reason."""
    if not in_git():
        raise UserError("this folder is in no git repository, so it has no experiments; run this in a clone")
    errors: list[str] = []
    with collect_errors(errors):
        params = read_params("evaluate", EvaluateParams)
    with collect_errors(errors):
        check_paths({}, {}, {"--json": args.json})
    with collect_errors(errors):
        start = commit_at("--rev", args.rev)
    with collect_errors(errors):
        commit = commit_at("--baseline", args.baseline) if args.baseline else start
    if errors:
        raise UserError(*errors)
    name, asked = args.baseline or args.rev, (args.model, args.test_set, params.contract)
    try:
        baseline = setting_at(name, commit, *asked)
    except UserError as error:
        reason = str(error).removeprefix(f"{name}: ")
        raise UserError(f"the baseline {name} cannot be used: {reason}; or give another --baseline") from None
    done, unfinished = experiments_of(start)
    commits = {experiment: revision for experiment, revision in done.items() if revision != commit}
    settings, left_out = settings_at(commits, baseline, *asked)
    left_out |= unfinished
    if not settings:
        reasons = [f"{experiment}: {reason}" for experiment, reason in left_out.items()]
        fix = "`dvc exp show --all-commits` lists all experiments"
        raise UserError(*reasons, f"no experiment that began at {args.rev} can be compared with {name}; {fix}")
    about = {"model": args.model, "test_set": args.test_set, "contract": params.contract}
    figures = sweep_figures([baseline, *settings], params.seed, params.resamples)
    return {**about, **figures, "left_out": dict(sorted(left_out.items()))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.sweep", description=__doc__)
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--test-set", required=True, help="<source>-<split>, such as demo-dev")
    parser.add_argument("--baseline", metavar="NAME", help="experiment or revision; the default is --rev")
    parser.add_argument("--rev", default="HEAD", help="the commit that the experiments began at; the default is HEAD")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the figures as JSON")
    args = parser.parse_args()
    figures = sweep(args)
    if args.json:
        write_json(args.json, figures)
    show(sweep_table(figures))
    for name, reason in figures["left_out"].items():
        show(f"left out: {name}: {reason}")


if __name__ == "__main__":
    run_stage(main)
