"""Build data sets of pictures of any kind from a folder or a ZIP file, and a table of labels."""

from pathlib import Path

from hrm_core.data.label_tables import read_table
from hrm_core.data.picture_sources import open_pictures
from hrm_core.data.sources import escaped
from hrm_core.data.writer import refuse_used
from hrm_core.errors import DataError
from hrm_core.tasks.building import Built, Watch, unwatched
from hrm_core.tasks.picture_building import build_pictures
from hrm_core.tasks.picture_collection import collected, folder_table
from hrm_tasks.images.labels import table_labels
from hrm_tasks.images.options import Options
from hrm_tasks.images.task import Images

__all__ = ["Options", "build"]


def build(out: Path, options: Options, watch: Watch = unwatched) -> Built:
    """Build a data set of pictures of any kind, from a folder and a CSV of labels.

    \b
    Examples:
        hrm data images data/digits --images digits --size 8 --patch 2
        hrm data images data/birds --images birds.zip --labels birds.csv --columns owl,song
    """
    refuse_used(out)
    pictures = open_pictures(options.images, options.frames)
    about = {"images": escaped(options.images.resolve().name)}
    if options.labels is not None:
        table = read_table(options.labels)
        about |= {"labels": escaped(options.labels.resolve().name), "labels_sha256": table.sha256}
    elif options.columns is not None:
        raise DataError("--columns are those of --labels CSV; give both or neither")
    else:
        table = folder_table(options.images, pictures.names)
    named = table_labels(table, options.columns)
    collection = collected(table, named, pictures, about, options.skip)
    return build_pictures(out, Images, collection, options, watch, options.frames)
