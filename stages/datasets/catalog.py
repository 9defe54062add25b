"""Every dataset of one file, in the order of the pipeline. `answers` has a file for each model and test set."""

from stages.datasets.candidates import CANDIDATES
from stages.datasets.counterexamples import COUNTEREXAMPLES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.pairs import PAIRS
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.datasets.sft import SFT
from stages.datasets.synthetic import SYNTHETIC

_ALL = (QUESTIONS, SYNTHETIC, GOLD, PROMPTS, SFT, CANDIDATES, EXEC_RESULTS, COUNTEREXAMPLES, PAIRS)
DATASETS = {dataset.name: dataset for dataset in _ALL}
