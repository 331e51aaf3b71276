"""Frames to figures: one look for all, one colour an arm, every seed shown.  Never reads runs."""

from analysis.figures.breeds import plot_breeds
from analysis.figures.costs import plot_cost, training_compute, training_time
from analysis.figures.curves import plot_curves
from analysis.figures.differences import plot_differences
from analysis.figures.finals import plot_finals
from analysis.figures.images import plot_per_image, plot_thresholds
from analysis.figures.output import Picture, save
from analysis.figures.overall import plot_changes, plot_validation_test, validation_and_test
from analysis.figures.pictures import ablation_pictures, overall_pictures
from analysis.figures.style import Look, arm_looks, look, styled

__all__ = [
    "Look",
    "Picture",
    "ablation_pictures",
    "arm_looks",
    "look",
    "overall_pictures",
    "plot_breeds",
    "plot_changes",
    "plot_cost",
    "plot_curves",
    "plot_differences",
    "plot_finals",
    "plot_per_image",
    "plot_thresholds",
    "plot_validation_test",
    "save",
    "styled",
    "training_compute",
    "training_time",
    "validation_and_test",
]
