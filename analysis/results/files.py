"""What runs keep as files in MLflow: the table of test images, the threshold curve, sheets of predictions."""

import io
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
from mlflow import artifacts

from analysis.attempts import name_of
from analysis.frames import list_names
from analysis.results.client import Client, first_line
from analysis.results.loading import Results
from analysis.results.tracked import runner_command

IMAGES = "test_per_image.parquet"
IMAGE_COLUMNS = ("name", "breed", "tp", "fp", "fn", "tn", "dice", "iou")
CURVE = "threshold_curve.parquet"
CURVE_COLUMNS = ("threshold", "dice_per_image", "dice_dataset", "iou_per_image", "iou_dataset")
# Files at a time; where a first group brings none, the store is taken to be away, and not waited for a thousand times.
GROUP = 8

Table = pd.DataFrame | Exception


class DamagedError(Exception):
    """A file that is there, but is not what it should be."""


def load_images(client: Client, results: Results) -> tuple[pd.DataFrame, list[str]]:
    """The test images of all finished runs: arm, seed, name, breed, tp, fp, fn, tn, dice, iou; and what is missing.

    Counts are pixels at the chosen threshold; breed is missing where it is not known; dice and iou lie in [0, 1].
    """
    return load_tables(client, results, IMAGES, IMAGE_COLUMNS)


def load_threshold_curves(client: Client, results: Results) -> tuple[pd.DataFrame, list[str]]:
    """The validation's scores by threshold of all finished runs, with arm and seed; and what is missing."""
    return load_tables(client, results, CURVE, CURVE_COLUMNS)


def load_sheet(client: Client, results: Results, arm: str, seed: int, name: str) -> bytes | None:
    """A sheet of a finished run's predictions (`worst`, `best`, `tenth_batches`) as PNG; None where it is missing."""
    rows = finished(results)
    rows = rows[(rows["arm"] == arm) & (rows["seed"] == seed)]
    if rows.empty:
        return None
    try:
        return read_file(client, rows["artifact_uri"].iloc[0], f"sheets/{name}.png")
    # Stores of many kinds, each with errors of its own; a picture that is missing is no reason to stop.
    except Exception:
        return None


def finished(results: Results) -> pd.DataFrame:
    """The rows of the finished runs."""
    return results.runs[results.runs["state"] == "finished"]


def read_file(client: Client, artifact_uri: str, name: str) -> bytes:
    """The content of one of a run's artifacts; a local one is read where it lies.  Raises what its store raises."""
    uri = f"{artifact_uri.rstrip('/')}/{name}"
    if urlsplit(uri).scheme in ("", "file"):
        return Path(artifacts.download_artifacts(artifact_uri=uri)).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        place = artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=client.tracking_uri)
        return Path(place).read_bytes()


def load_tables(client: Client, results: Results, name: str, columns: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """One table of each finished run, under each other with arm and seed; and a sentence for each way to be missing."""
    rows = finished(results)
    tables = read_tables(client, list(rows["artifact_uri"]), name, columns)
    found = []
    failed: dict[bool, list[tuple[str, Exception]]] = {}
    for arm, seed, table in zip(rows["arm"], rows["seed"], tables, strict=True):
        if isinstance(table, Exception):
            failed.setdefault(isinstance(table, DamagedError), []).append((name_of(arm, seed), table))
        else:
            table.insert(0, "arm", arm)
            table.insert(1, "seed", seed)
            found.append(table)
    together = pd.concat(found, ignore_index=True) if found else empty_table(columns)
    notes = [describe_failures(results, name, is_damaged, runs) for is_damaged, runs in failed.items()]
    return together, notes


def empty_table(columns: Sequence[str]) -> pd.DataFrame:
    """A table without rows, whose numbers are numbers all the same."""
    numbers = [column for column in ("seed", *columns) if column not in ("name", "breed")]
    return pd.DataFrame(columns=["arm", "seed", *columns]).astype(dict.fromkeys(numbers, "float64"))


def read_tables(client: Client, places: Sequence[str], name: str, columns: Sequence[str]) -> list[Table]:
    """A table, or why there is none, for each place."""
    tables: list[Table] = []
    with ThreadPoolExecutor(GROUP) as pool:
        for start in range(0, len(places), GROUP):
            group = places[start : start + GROUP]
            tables += pool.map(lambda place: read_table(client, place, name, columns), group)
            if all(isinstance(table, Exception) and not isinstance(table, DamagedError) for table in tables):
                # The same error for the rest.
                return tables + tables[-1:] * (len(places) - len(tables))
    return tables


def read_table(client: Client, place: str, name: str, columns: Sequence[str]) -> Table:
    """One table with these columns, or why there is none."""
    try:
        content = read_file(client, place, name)
    # Stores of many kinds, each with errors of its own; a table that is missing is said, and no reason to stop.
    except Exception as error:
        return error
    try:
        return pd.read_parquet(io.BytesIO(content))[list(columns)]
    # A damaged file makes pyarrow raise errors of many kinds; a column that is missing is a KeyError.
    except Exception as error:
        return DamagedError(first_line(error))


def describe_failures(results: Results, name: str, is_damaged: bool, runs: Sequence[tuple[str, Exception]]) -> str:
    """What is missing, why, and how to get it back, in one sentence."""
    wrong = "is damaged" if is_damaged else "is missing"
    of = f"{len(runs)} of {len(finished(results))} finished runs ({list_names([run for run, _ in runs])})"
    return (
        f"In MLflow {name} {wrong} for {of}: {first_line(runs[0][1])}; it may still lie in runs/FINGERPRINT/artifacts/ "
        f"where they ran, and `{runner_command(results.experiment)} --rerun` makes it anew."
    )
