"""Predict the labels of pictures: `hrm predict MODEL image.png`."""

from collections.abc import Sequence

from hrm_core.tasks import picture_predicting
from hrm_core.tasks.capabilities import Ask
from hrm_core.tasks.picture_predicting import Prediction, Thing
from hrm_tasks.images.task import Images


class Options(picture_predicting.Options):
    """What is drawn beside the chances of the labels."""


def predict(task: Images, files: Sequence[Thing], options: Options, ask: Ask) -> Prediction:
    """Say which label, or which labels, pictures have: files, or folders of them.

    \b
    Examples:
        hrm predict runs/digits image.png
        hrm predict runs/digits image.png --explain map.png
        hrm predict runs/digits images/ --sheet page.png
    """
    return picture_predicting.predict(task, files, options, ask)
