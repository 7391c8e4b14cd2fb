"""The YAML files of khabar, installed with the package: labels, training recipes and serving
settings.
"""

from importlib import resources
from pathlib import Path


def folder() -> Path:
    """The folder of the installed configuration files."""
    return Path(str(resources.files(__name__)))


def read_text(name: str) -> str:
    """The text of a configuration file by its path below `configs/`."""
    return (folder() / name).read_text(encoding="utf-8")
