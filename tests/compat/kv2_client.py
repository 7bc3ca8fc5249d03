"""A client as KV2's users wrote them: forms, `result` codes, nothing of Khala's own."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any

FORM = {
    "user": "0",
    "compile_command": "",
    "compile_timeout": "10",
    "execute_input": "",
    "execute_command": "",
    "execute_timeout": "10",
    "execute_standard": "",
}
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def multipart(fields: dict[str, str], files: dict[str, tuple[str, bytes]]) -> tuple[str, bytes]:
    """Content type and body; `files` maps a field to its file name and content."""
    boundary = "----khala-compat"
    body = b""
    for name, value in fields.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        body += value.encode() + b"\r\n"
    for name, (file_name, content) in files.items():
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}";'
            f' filename="{file_name}"\r\nContent-Type: application/zip\r\n\r\n'
        ).encode()
        body += content + b"\r\n"
    return f"multipart/form-data; boundary={boundary}", body + f"--{boundary}--\r\n".encode()


class Kv2Client:
    def __init__(self, url: str) -> None:
        self.url = url

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str = "application/x-www-form-urlencoded",
    ) -> Answer:
        headers = {"Content-Type": content_type} if body is not None else {}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, fields: dict[str, str]) -> Answer:
        return self.call("POST", "/api/task", urllib.parse.urlencode(fields).encode())

    def post_files(self, fields: dict[str, str], files: dict[str, tuple[str, bytes]]) -> Answer:
        content_type, body = multipart(fields, files)
        return self.call("POST", "/api/task", body, content_type)

    def submit(self, **fields: str) -> str:
        """A task of `FORM` with these changes; its id."""
        answer = self.post({**FORM, **fields})
        assert answer.json["result"] == 0, answer.body
        task = answer.json["id"]
        assert isinstance(task, str)
        return task

    def submit_zip(self, field: str, content: bytes, **fields: str) -> str:
        answer = self.post_files({**FORM, **fields}, {field: ("files.zip", content)})
        assert answer.json["result"] == 0, answer.body
        return str(answer.json["id"])

    def task(self, task: str, **query: str) -> Any:
        return self.get(f"/api/task?{urllib.parse.urlencode({'id': task, **query})}").json["task"]

    def wait(self, task: str) -> Answer:
        """The whole task, once it is done."""
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self.get(f"/api/task?id={task}&no_truncate=1")
            if answer.json["task"]["done"]:
                return answer
            assert time.monotonic() < deadline, f"task {task} is not done: {answer.text}"
            time.sleep(0.05)

    def wait_status(self, task: str, status: int) -> None:
        deadline = time.monotonic() + WAIT_S
        while self.task(task)["status"] != status:
            assert time.monotonic() < deadline, f"task {task} never had status {status}"
            time.sleep(0.02)
