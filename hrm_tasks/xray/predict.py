"""Predict the findings of chest X-rays: `hrm predict MODEL image.png`."""

from collections.abc import Sequence

from hrm_core.tasks import picture_predicting
from hrm_core.tasks.capabilities import Ask
from hrm_core.tasks.picture_predicting import Prediction, Thing
from hrm_tasks.xray.task import Xray


class Options(picture_predicting.Options):
    """What is drawn beside the chances of the findings."""


def predict(task: Xray, files: Sequence[Thing], options: Options, ask: Ask) -> Prediction:
    """Say which findings chest X-rays show: picture files, DICOM, or folders of them.

    For research, not for diagnosis.

    \b
    Examples:
        hrm predict runs/xray-28 image.png
        hrm predict runs/xray-28 image.png --explain map.png --label Pneumonia
        hrm predict runs/xray-28 images/ --json
    """
    return picture_predicting.predict(task, files, options, ask)
