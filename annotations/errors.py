"""The family of khabar's errors: each says what, where, what was found and what to do, and never
quotes an article.
"""


class KhabarError(Exception):
    """Anything that a user can mend; its message says how."""


class DocumentError(KhabarError, ValueError):
    """A document that breaks a rule of the schema."""


class FormatError(KhabarError, ValueError):
    """A file that cannot be read as the format it should be in."""


class ConfigError(KhabarError, ValueError):
    """A configuration file with a wrong or unknown setting."""


class MissingExtraError(KhabarError, ImportError):
    """A feature whose optional dependencies are not installed."""
