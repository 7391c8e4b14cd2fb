"""The log of the service: a line a record on stderr, JSON or plain, and never a word of an article.

Our own lines say what we wrote into them, and so do our own errors. Of a line of another library
only the template is told, and of another exception its type and places: messages and arguments may
quote what was being read.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import traceback
import warnings
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

from annotations.errors import KhabarError

Kind = Literal["json", "plain"]
Choice = Literal["json", "plain", "auto"]

REQUEST_ID: ContextVar[str | None] = ContextVar("khabar_request_id", default=None)
OURS = "khabar"  # the root of our loggers
SERVERS = ("bentoml", "uvicorn", "circus")  # their templates are known to quote nothing
CONFIGURED = ("", OURS, "bentoml", "circus", "uvicorn", "uvicorn.access", "uvicorn.error")
LEVELS = {"": logging.WARNING, OURS: logging.INFO, "bentoml": logging.INFO}
FRAMES = 4  # of an exception, the innermost ones
QUIET_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})  # asked every few seconds
SANE_PATH = re.compile(r"/[A-Za-z0-9._/-]{0,100}")
SANE_METHOD = re.compile(r"[A-Z]{1,10}")
HIDDEN = "?"

logger = logging.getLogger("khabar.process")
access_logger = logging.getLogger("khabar.access")


def log_access(
    *,
    method: str,
    path: str,
    status: int,
    duration_ms: float,
    bytes_in: int,
    bytes_out: int,
    articles: int | None = None,
    pieces: int | None = None,
    code: str | None = None,
    key: str | None = None,
) -> None:
    """Log an answered request. `path` is without its query, `code` that of its error envelope,
    `key` the name of its API key.

    Probes that succeed, or find the model still loading, are told at DEBUG only; a method or path
    of strange characters is hidden.
    """
    fields = {
        "method": method if SANE_METHOD.fullmatch(method) else HIDDEN,
        "path": path if SANE_PATH.fullmatch(path) else HIDDEN,
        "status": status,
        "duration_ms": round(duration_ms, 1),
        "bytes_in": bytes_in,
        "bytes_out": bytes_out,
        "articles": articles,
        "pieces": pieces,
        "code": code,
        "key": key,
    }
    level = logging.WARNING if status >= 500 else logging.INFO
    if path in QUIET_PATHS and (status < 400 or code == "loading"):
        level = logging.DEBUG
    known = {name: value for name, value in fields.items() if value is not None}
    access_logger.log(level, "request", extra={"fields": known})


def fault_places(fault: BaseException) -> str:
    """The type of an exception and where it was raised, the innermost place first."""
    frames = reversed(traceback.extract_tb(fault.__traceback__)[-FRAMES:])
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
    return f"{type(fault).__name__} at {places}" if places else type(fault).__name__


def _is_of(record: logging.LogRecord, *roots: str) -> bool:
    return record.name.partition(".")[0] in roots


def line_of(record: logging.LogRecord) -> dict[str, Any]:
    """What may be told of a record, in order: time, level, logger, message and what else it has."""
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {
        "time": time.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _message(record),
    }
    request_id = REQUEST_ID.get()
    if _is_of(record, OURS):
        request_id = getattr(record, "request_id", request_id)
        line |= getattr(record, "fields", {})
    if request_id is not None:
        line["request_id"] = request_id
    if record.exc_info and record.exc_info[1] is not None:
        line["exception"] = fault_places(record.exc_info[1])
    return line


def _message(record: logging.LogRecord) -> str:
    if _is_of(record, OURS):
        return record.getMessage()
    template = record.msg
    if not isinstance(template, str) or not _is_of(record, *SERVERS):
        return f"a line from {record.module}:{record.lineno} {record.funcName}, not quoted"
    if "Traceback (most recent call last)" in template:
        return "a traceback, not quoted"
    if not isinstance(record.args, tuple) or not record.args:
        return template.partition("\n")[0]
    shown = tuple(a if isinstance(a, int | float) else f"<{type(a).__name__}>" for a in record.args)
    try:
        return (template % shown).partition("\n")[0]
    except (TypeError, ValueError):
        return template.partition("\n")[0]


class JsonFormatter(logging.Formatter):
    """A record as one JSON object of ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return json.dumps(line_of(record), default=_type_name)


class PlainFormatter(logging.Formatter):
    """A record as one line for people: time, level, logger, message, the rest as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = line_of(record)
        head = [line.pop("time"), line.pop("level").upper(), line.pop("logger")]
        rest = [f"{name}={_plain(value)}" for name, value in line.items() if name != "message"]
        return " ".join([*head, _printable(line["message"]), *rest])


def _plain(value: object) -> str:
    quoted = json.dumps(value, ensure_ascii=False, default=_type_name)
    return _printable(quoted if " " in quoted else quoted.strip('"'))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _type_name(value: object) -> str:
    return f"<{type(value).__name__}>"


FORMATTERS: dict[Kind, type[logging.Formatter]] = {"json": JsonFormatter, "plain": PlainFormatter}


class Lines(logging.Handler):
    """Writes to the stderr of the moment.

    logging's own answer to a record that cannot be written is to print its message and arguments;
    here it is the type of the fault.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of a record."""
        try:
            line = self.format(record)
        except Exception as fault:  # whatever a bad record makes of itself
            line = json.dumps({"level": "error", "logger": record.name, "message": _bad(fault)})
        try:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads it, or it is closed
            return


def _bad(fault: Exception) -> str:
    return f"a log line could not be formatted: {type(fault).__name__}"


def configure(choice: Choice) -> None:
    """Send all records of this process to stderr through one formatter; may be called again.

    `auto` is plain for a person at a terminal and JSON for everything else.

    Only plain stream handlers are replaced: a handler that someone else put there stays. What would
    be printed around logging (an uncaught exception, a warning) becomes a line as well.
    """
    configure_alone(choice)
    _keep_from_bentoml()


def configure_alone(choice: Choice) -> None:
    """What `configure` does, for a process without BentoML."""
    for name in CONFIGURED:
        configured = logging.getLogger(name)
        for handler in list(configured.handlers):
            if isinstance(handler, Lines) or type(handler) is logging.StreamHandler:
                configured.removeHandler(handler)
        configured.propagate = True
        configured.setLevel(LEVELS.get(name, logging.WARNING))
    for found in logging.root.manager.loggerDict.values():
        if isinstance(found, logging.Logger):
            found.disabled = False  # BentoML's set-up silences all loggers that it does not name
    kind: Kind = ("plain" if sys.stderr.isatty() else "json") if choice == "auto" else choice
    lines = Lines()
    lines.setFormatter(FORMATTERS[kind]())
    logging.getLogger().addHandler(lines)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread
    sys.unraisablehook = _log_unraisable
    warnings.showwarning = _log_warning


def _keep_from_bentoml() -> None:
    """Let BentoML's set-up of the parent process, which comes later, change levels only."""
    from bentoml._internal.log import CLI_LOGGING_CONFIG

    CLI_LOGGING_CONFIG.update(incremental=True, disable_existing_loggers=False, handlers={})
    CLI_LOGGING_CONFIG["loggers"]["bentoml"]["propagate"] = True


def _log_uncaught(
    kind: type[BaseException], fault: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, fault, trace)
        return
    told = str(fault) if isinstance(fault, KhabarError) else fault_places(fault)
    logger.critical("uncaught: %s", told)


def _log_uncaught_of_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and not isinstance(found.exc_value, SystemExit):
        logger.critical("a thread ended: %s", fault_places(found.exc_value))


def _log_unraisable(found: Any) -> None:
    if found.exc_value is not None:
        logger.error("an exception went nowhere: %s", fault_places(found.exc_value))


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    logger.warning("%s at %s:%d", category.__name__, Path(filename).name, lineno)
