"""What to doubt about a training's result."""

from training.evaluation import ClassEvaluation, Evaluation
from training.facts import Facts
from training.holdout import out_of_fold
from training.scores import THRESHOLDS

FEW_IMAGES = 3  # fewer held-out ones than this say little
NOTABLE = 0.005  # difference of V_rand worth a warning
NOTHING = 0.01  # V_info up to which nothing is told apart


def find_warnings(facts: Facts) -> list[str]:
    """What a reader should know before trusting the result, a sentence or two each."""
    found = []
    first, last = facts.history[0], facts.history[-1]
    if facts.last < facts.steps:
        why = {
            "out of time": "its time was up. More --minutes give better weights.",
            "no longer better": "the score was no longer getting better.",
        }.get(facts.config.get("ended", ""), "The same command with --resume goes on from there.")
        found.append(f"The training was stopped, its last check was at step {facts.last} of {facts.steps}: {why}")
    if last["loss"] >= first["loss"] and len(facts.history) > 1:
        found.append(
            f"The training loss did not fall: {first['loss']:.4g} at step {first['step']:.0f}, {last['loss']:.4g} at "
            f"step {facts.last}. Do the labels belong to the images?"
        )
    if facts.evaluation:
        return found + _doubts(facts, facts.evaluation)
    score = out_of_fold(facts.description.provenance)
    return [*found, f"{OUT_OF_FOLD} They were {score}." if score else NOT_MEASURED]


OUT_OF_FOLD = (
    "These weights themselves were not measured: the score is that of other weights, trained on fewer images. "
    "The folder folds/ has a report for each fold."
)

NOT_MEASURED = (
    "No images were held out, so nothing was measured: how well the weights do on new images is unknown. "
    "--val-fraction 0.2 holds out a fifth."
)


def _doubts(facts: Facts, evaluation: Evaluation | ClassEvaluation) -> list[str]:
    """What is doubtful about the scores themselves."""
    found = []
    count = len(evaluation.images)
    if count < FEW_IMAGES:
        found.append(
            f"Only {count} image{' was' if count == 1 else 's were'} held out: on others the scores may differ much."
        )
    if evaluation.warning:
        found.append(f"{evaluation.warning[0].upper()}{evaluation.warning[1:]}.")
    if isinstance(evaluation, Evaluation):
        return found + _doubts_of_one_class(evaluation, facts.description.threshold)
    missing = [name for index, name in facts.description.labels.items() if index not in evaluation.total.labelled]
    if missing:
        found.append(f"No held-out label has any {', '.join(missing)}: how well that is found is unknown.")
    return found


def _doubts_of_one_class(evaluation: Evaluation, stored: float) -> list[str]:
    found = []
    best = evaluation.best_threshold
    if not evaluation.warning and evaluation.mean(stored).v_info <= NOTHING:
        found.append("V_info is 0: the weights tell no objects apart yet. A longer training may; so may more images.")
    if best in (THRESHOLDS[0], THRESHOLDS[-1]):
        found.append(
            f"V_rand is highest at {best:g}, the edge of the thresholds tried: the probabilities lean to one side. "
            "Longer training, or more images, should bring the best threshold towards 0.5."
        )
    gain = evaluation.mean(best).v_rand - evaluation.mean(stored).v_rand
    if gain > NOTABLE:
        found.append(
            f"At threshold {best:g} V_rand would be higher by {gain:.3f} than at the stored one, {stored:.3g}. "
            "A request may name its own threshold."
        )
    return found
