"""The task of pictures: which label, or which labels, has each?"""

from hrm_core.tasks.pictures import PictureTask


class Images(PictureTask):
    """Pictures of any kind with labels of any kind."""

    name = "images"


TASK = Images
