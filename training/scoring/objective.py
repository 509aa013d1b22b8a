"""The objective: the score that decides which weights and which threshold a training keeps."""

from typing import Literal, TypeAlias, get_args

from training.data.folder import Sample
from training.data.inspection import background_is_borders, foreground_is_thin
from training.data_error import DataError
from training.scoring.object_scores import labelled_objects

Objective: TypeAlias = Literal["v_rand", "objects", "dice", "mean_dice"]

OBJECTIVES: tuple[Objective, ...] = get_args(Objective)

OBJECTIVE_NAMES: dict[Objective, str] = {
    "v_rand": "V_rand",
    "objects": "object score",
    "dice": "Dice",
    "mean_dice": "mean Dice",
}

EXPLANATIONS: dict[Objective, str] = {
    "v_rand": "V_rand measures how well objects are kept apart; 1 is perfect. A gap in a border that merges two large "
    "objects costs much, a border that is one pixel too thick costs nothing.",
    "objects": "The object score is the mean of two scores: the F1 score of objects, where a found object counts if it "
    "overlaps a labelled one with an IoU above 0.5, and the Dice score of pixels. 1 is perfect.",
    "dice": "Dice is twice the overlap of found and labelled foreground, divided by the sum of both areas; 1 is "
    "perfect. It is computed from the pixels of all held-out images together.",
    "mean_dice": "Mean Dice is the mean of the Dice scores of the foreground classes; 1 is perfect. The Dice of a "
    "class is twice the overlap of found and labelled pixels, divided by the sum of both areas.",
}


def choose_objective(samples: list[Sample], classes: int) -> tuple[Objective, str]:
    """Decides from the labels which score suits the task.

    Args:
        samples: All labelled images, held out or not.
        classes: Number of classes of the net; 1 means foreground and background.

    Returns:
        The objective, and the reason as a phrase that follows "because".
    """
    if classes > 1:
        return "mean_dice", f"the labels have {classes} classes"
    if background_is_borders(samples):
        return "v_rand", "the background is a thin net around the objects"
    if any(sample.ids is not None for sample in samples):
        return "objects", "the labels number their objects"
    if foreground_is_thin(samples):
        return "dice", "the foreground is thin lines"
    return "dice", "the labels are foreground and background"


def resolve_objective(asked: Objective | None, samples: list[Sample], classes: int) -> tuple[Objective, str]:
    """Returns the objective and its reason: as asked for with `--select`, else as the labels suggest.

    Raises:
        DataError: The labels cannot be scored by the objective that was asked for.
    """
    if asked is None:
        return choose_objective(samples, classes)
    accepted = accepted_objectives(samples, classes)
    if asked not in accepted:
        raise DataError(f"--select {asked}: these labels can be scored by {' or '.join(accepted)} only")
    return asked, f"--select {asked} was given"


def accepted_objectives(samples: list[Sample], classes: int) -> tuple[Objective, ...]:
    """Returns the objectives that are defined for the labels; V_rand needs a label with two or more segments."""
    if classes > 1:
        return ("mean_dice",)
    has_segments = any(labelled_objects(sample).max(initial=0) > 1 for sample in samples)
    return ("v_rand", "objects", "dice") if has_segments else ("objects", "dice")
