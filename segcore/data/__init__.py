"""Finding, reading, caching and augmenting the data."""

from segcore.data.cache import Part, PreparedData, Skipped, cache_bytes, find_prepared, pack, prepare_data
from segcore.data.find import find_data
from segcore.data.index import DataIndex
from segcore.data.loader import Batch, Border, EvaluationLoader, TrainLoader

__all__ = [
    "Batch",
    "Border",
    "DataIndex",
    "EvaluationLoader",
    "Part",
    "PreparedData",
    "Skipped",
    "TrainLoader",
    "cache_bytes",
    "find_data",
    "find_prepared",
    "pack",
    "prepare_data",
]
