"""The task of chest X-rays: which findings does a picture show?"""

from hrm_core.tasks.pictures import PictureTask


class Xray(PictureTask):
    """Chest X-rays with one or several findings each."""

    name = "xray"
    word = "finding"
    note = "for research, not for diagnosis"


TASK = Xray
