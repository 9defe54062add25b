"""Every dataset, in the order of the pipeline."""

from stages.datasets.candidates import CANDIDATES
from stages.datasets.exec_results import EXEC_RESULTS
from stages.datasets.gold import GOLD
from stages.datasets.pairs import PAIRS
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.datasets.sft import SFT
from stages.datasets.synthetic import SYNTHETIC

_ALL = (QUESTIONS, SYNTHETIC, GOLD, PROMPTS, SFT, CANDIDATES, EXEC_RESULTS, PAIRS)
DATASETS = {dataset.name: dataset for dataset in _ALL}
