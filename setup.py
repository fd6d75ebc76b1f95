"""List the packages to install. Everything else stands in pyproject.toml."""

from setuptools import find_packages, setup

RENAMED = {  # folders whose own names other people's packages have, too
    "hrm_cli": "cli",
    "hrm_convert": "convert",
    "hrm_models": "models",
}

setup(packages=[*RENAMED, *find_packages(include=["hrm_*"])], package_dir=RENAMED)
