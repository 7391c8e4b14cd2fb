"""The YAML files of khabar, installed with the package: labels, training recipes and serving
settings.
"""

from importlib import resources
from pathlib import Path


def folder() -> Path:
    """The folder of the installed configuration files."""
    return Path(str(resources.files(__name__)))


def names(folder_name: str) -> list[str]:
    """The names of the YAML files in a folder below `configs/`, without their suffix."""
    return sorted(path.stem for path in (folder() / folder_name).glob("*.yaml"))


def read_text(name: str) -> str:
    """The text of a configuration file by its path below `configs/`."""
    return (folder() / name).read_text(encoding="utf-8")
