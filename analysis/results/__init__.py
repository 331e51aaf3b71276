"""MLflow to tidy pandas frames: the only part of `analysis` that talks to MLflow.

    client = make_client()
    results = load_results(client, "lr_sweep-demo")
    results.runs                                # a row for each arm and seed, with state and final metrics
    images, notes = load_images(client, results)

A database and a server are read alike, in few queries.  Whatever stands in the way is a ResultsError of one sentence;
what a reader should know besides is in `notes`.
"""

from analysis.results.client import Client, ResultsError, make_client, reading
from analysis.results.files import load_images, load_sheet, load_threshold_curves
from analysis.results.loading import EPOCH_METRICS, Results, hypotheses_frame, load_results
from analysis.results.tracked import ExperimentRow, list_experiments, make_command

__all__ = [
    "EPOCH_METRICS",
    "Client",
    "ExperimentRow",
    "Results",
    "ResultsError",
    "hypotheses_frame",
    "list_experiments",
    "load_images",
    "load_results",
    "load_sheet",
    "load_threshold_curves",
    "make_client",
    "make_command",
    "reading",
]
