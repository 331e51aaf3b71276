"""From MLflow to tables and figures: reads runs, never trains."""
