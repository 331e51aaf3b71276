"""A saved view of MLflow's run page: the curves and results of an ablation, averaged over the seeds of each arm.

The format is that of MLflow's own "Save as new view" (3.17), found in the UI and in no documentation. A UI that does
not know it ignores it and shows its own charts.
"""

import json
from typing import Any

VIEW_TAG = "mlflow.sharedViewState.arms"

CURVES = ("train/loss", "val/loss", "val/dice_per_image")
RESULTS = ("test/dice_per_image", "test/dice_dataset", "train_seconds")


# The UI takes a search without a comparison such as LIKE for a part of a run's name, and IS NULL is none to it.
SEARCH = "tags.arm LIKE '%' AND tags.superseded_by IS NULL"


def arms_view(created: int) -> str:
    """The value of VIEW_TAG.  created: milliseconds."""
    sections = {"curves": "Curves, mean over seeds", "results": "At the end, mean over seeds"}
    state = {
        "searchFilter": SEARCH,
        "orderByKey": "attributes.start_time",
        "orderByAsc": True,
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": "arm"}]},
        "useGroupedValuesInCharts": True,
        "isAccordionReordered": True,
        "selectedColumns": ["attributes.`Created`", *(f"metrics.`{key}`" for key in RESULTS)],
        "compareRunSections": [_item(f"arms-{key}", name=name, display=True) for key, name in sections.items()],
        "compareRunCharts": [*map(_curve, CURVES), *map(_bars, RESULTS)],
    }
    envelope = {"name": "Arms", "createdAt": created, "updatedAt": created, "state": json.dumps(state)}
    return json.dumps(envelope)


def is_untouched(view: str) -> bool:
    """Whether a value of VIEW_TAG is one of `arms_view`, of this version or an older one, that no user has changed."""
    try:
        envelope = json.loads(view)
        return bool(envelope["createdAt"] == envelope["updatedAt"])
    except (ValueError, KeyError, TypeError):
        return False


def arms_link(experiment_id: str) -> str:
    """The view's address, relative to the UI's."""
    return (
        f"#/experiments/{experiment_id}/runs?viewStateShareKey=arms&compareRunsMode=CHART&workflowType=machine_learning"
    )


def _item(uuid: str, **settings: Any) -> dict[str, Any]:
    return {"uuid": uuid, "deleted": False, "isGenerated": False, "isReordered": False, **settings}


def _curve(metric: str) -> dict[str, Any]:
    return _item(
        f"arms-{metric}",
        type="LINE",
        metricSectionId="arms-curves",
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        selectedXAxisMetricKey="",
        xAxisScaleType="linear",
        yAxisKey="metric",
        yAxisExpressions=[],
        scaleType="linear",
        lineSmoothness=0,
        range={},
    )


def _bars(metric: str) -> dict[str, Any]:
    return _item(f"arms-{metric}", type="BAR", metricSectionId="arms-results", metricKey=metric)
