"""From KV2's form to a task: the checks of its fields, and one file's text as an archive."""

from __future__ import annotations

import io
import re
import zipfile

from sanic import Request

from khala.model.errors import Rejected
from khala.model.limits import KEY_CHARS
from khala.model.spec import Part
from khala.protocol.rpc import SubmitTask
from roles.gateway.config import GatewayConfig
from roles.gateway.forms import Form

INTEGER_MAX = 2_147_483_647
#: A path inside an archive: what every file system takes.
NAME_BYTES = 1024
NAME_PART_BYTES = 255

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
#: The same text is the same archive, whenever it is sent: repetitions are recognised by content.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


_KEY = re.compile(rf"[ -~]{{1,{KEY_CHARS}}}\Z")


def parse_integer(text: str, field: str) -> int:
    """As KV2 reads numbers: whatever `int` takes (" 5 ", "+5", "1_0"), from 0 to 2^31 - 1."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= INTEGER_MAX:
        raise Rejected(
            f"{field}: a whole number from 0 to {INTEGER_MAX} is needed, {text[:40]!r} was given",
            field=field,
        )
    return value


def parse_key(request: Request) -> str | None:
    """What makes the repetition of a submission safe, if its sender gave one."""
    key: str | None = request.headers.get("idempotency-key")
    if key is not None and not _KEY.match(key):
        raise Rejected(
            f"Idempotency-Key: 1 to {KEY_CHARS} printable ASCII characters are expected,"
            f" {len(key)} were given: {key[:40]!a}",
            field="Idempotency-Key",
        )
    return key


def parse_traceparent(request: Request) -> str:
    """As W3C's Trace Context wants it: one that cannot be read is as none."""
    given: str = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.match(given) else ""


def task_of_form(form: Form, config: GatewayConfig, key: str) -> SubmitTask:
    """Raise `Rejected` naming the first field that is not as it must be."""
    compile_timeout_s = parse_integer(_required(form, "compile_timeout"), "compile_timeout")
    execute_timeout_s = parse_integer(_required(form, "execute_timeout"), "execute_timeout")
    max_wall_ms = config.maxima.wall_ms
    return SubmitTask(
        user=parse_integer(_required(form, "user"), "user"),
        compile_timeout_s=compile_timeout_s,
        execute_timeout_s=execute_timeout_s,
        compile_limits=config.compile.with_timeout(compile_timeout_s, max_wall_ms),
        execute_limits=config.execute.with_timeout(execute_timeout_s, max_wall_ms),
        parts={
            Part.COMPILE_SOURCE: _archive(form, "compile_source"),
            Part.COMPILE_COMMAND: _text(form, "compile_command"),
            Part.EXECUTE_INPUT: _text(form, "execute_input"),
            Part.EXECUTE_DATA: _archive(form, "execute_data"),
            Part.EXECUTE_COMMAND: _text(form, "execute_command"),
            Part.EXECUTE_STANDARD: _text(form, "execute_standard"),
        },
        key=key,
    )


def _required(form: Form, field: str) -> str:
    text = form.texts.get(field)
    if text is None:
        raise Rejected(
            f"{field}: this field is missing; it may be empty only if it is a text", field=field
        )
    return text


def _text(form: Form, field: str) -> bytes:
    """Browsers send CRLF whatever was typed; a script with it would not run."""
    return _required(form, field).replace("\r\n", "\n").encode()


def _archive(form: Form, field: str) -> bytes:
    """The uploaded zip as it is (whether it can be unpacked shows when it is), else one of the
    named text; nothing if neither is given."""
    upload = form.files.get(field)
    if upload is not None:
        if not upload:
            raise Rejected(
                f"{field}: the uploaded file is empty, a zip file was expected", field=field
            )
        return upload
    name = form.texts.get(f"{field}_name", "")
    text = form.texts.get(f"{field}_str", "")
    if not name or not text:
        return b""
    check_file_name(name, f"{field}_name")
    return zip_of(name, text.replace("\r\n", "\n").encode())


def zip_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    entry = zipfile.ZipInfo(name, date_time=_ZIP_DATE)
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(entry, content)
    return buffer.getvalue()


def check_file_name(name: str, field: str) -> None:
    """A relative path that stays where it is put. Raise `Rejected` for anything else."""
    parts = name.split("/")
    inside = all(part not in {"", ".", ".."} for part in parts)
    short = len(name.encode()) <= NAME_BYTES and all(
        len(part.encode()) <= NAME_PART_BYTES for part in parts
    )
    if not inside or not short or _CONTROL.search(name):
        raise Rejected(
            f"{field}: a file name is a relative path such as main.cpp or src/main.cpp, without"
            f" '..' and with at most {NAME_PART_BYTES} bytes a part; {name[:60]!r} is not",
            field=field,
        )
