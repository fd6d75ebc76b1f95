"""Build data sets of chest X-rays: pictures and a table of findings, or a file of MedMNIST."""

from pathlib import Path

import numpy as np

from hrm_core.data.label_tables import read_table
from hrm_core.data.picture_arrays import ArrayPictures
from hrm_core.data.picture_sources import open_pictures
from hrm_core.data.sources import escaped
from hrm_core.data.writer import refuse_used
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_core.tasks.picture_building import build_pictures
from hrm_core.tasks.picture_collection import Collection, collected, folder_table
from hrm_tasks.xray.findings import array_findings, table_findings
from hrm_tasks.xray.options import Options
from hrm_tasks.xray.task import Xray

__all__ = ["Options", "build"]


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a data set of chest X-rays from images and a CSV of findings, or from a file of MedMNIST.

    \b
    Examples:
        hrm data xray data/pneumonia --npz pneumoniamnist.npz
        hrm data xray data/nih --images images --labels Data_Entry_2017.csv --findings nih --size 64
    """
    refuse_used(out)
    collection = _of_arrays(options.npz, options) if options.npz else _of_files(options)
    return build_pictures(out, Xray, collection, options, watch)


def _of_arrays(path: Path, options: Options) -> Collection:
    """Read labels from a file of MedMNIST."""
    pictures = ArrayPictures(path)
    named = array_findings(pictures.labels, path.stem, options.findings, path)
    is_known = (named.targets >= 0).any(axis=1)
    for name in [pictures.names[row] for row in np.flatnonzero(~is_known)[:1]]:
        raise DataError(f"{path}: no finding of {name} is known; choose others with --findings")
    about = {"npz": escaped(path.resolve().name)}
    return Collection(
        pictures, pictures.names, named, about, splits=pictures.splits, is_stream=True
    )


def _of_files(options: Options) -> Collection:
    """Read labels from a table, or off the names of folders."""
    assert options.images is not None, "the options check this"
    pictures = open_pictures(options.images)
    about = {"images": escaped(options.images.resolve().name)}
    if options.labels is None:
        table = folder_table(options.images, pictures.names)
    else:
        table = read_table(options.labels)
        about |= {"labels": escaped(options.labels.resolve().name), "labels_sha256": table.sha256}
    return collected(table, table_findings(table, options.findings), pictures, about, options.skip)
