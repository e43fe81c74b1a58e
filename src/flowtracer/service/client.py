"""Asks `flowtracer serve --score` for weights; the standard library is all that it needs."""

import http.client
import json
import random
import secrets
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from flowtracer.service.rows import Rows, TokenWeights, read_rows
from flowtracer.service.wire import decode_weights, encode_rows

PATIENCE = 600.0  # seconds, our choice: a server that is started again loads its model in that time
ANSWER_SECONDS = 600.0  # for one answer, our choice: long responses in a queue take a while
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between two tries, our choice
AGAIN = (408, 429, 502, 503, 504)  # statuses after which another try can succeed
ERRORS: dict[int, type[Exception]] = {401: PermissionError, 403: PermissionError, 500: RuntimeError}


class ScorerClient:
    """The same `weights` as `Scorer` has, computed by a server.

        scorer = ScorerClient("http://127.0.0.1:8642", token="...")
        scorer.weights([[1, 2, 3, 4]], prompt_lengths=[2]).weights

    A request that gets no answer is sent again with the same id, which a server scores once. It may be
    used by several threads and be pickled.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        patience: float = PATIENCE,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Nothing is sent yet.

        url: of the server, http or https, or the address that it printed, with its token. patience:
        seconds for which a request is tried again. answer_seconds: that a single try may take.

        Raises ValueError for a URL that is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url is {url!r}; give one such as http://127.0.0.1:8642")
        self.url, _, fragment = url.partition("#")
        self.url = self.url.rstrip("/")
        token = token or unquote(fragment.removeprefix("token="))
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._prefix = parts.path.rstrip("/")
        self.token, self.patience, self.answer_seconds = token, patience, answer_seconds

    def weights(
        self,
        input_ids: Sequence[Any],
        prompt_lengths: Sequence[int] | None = None,
        *,
        response_masks: Sequence[Any] | None = None,
        row_mask: Sequence[bool] | None = None,
    ) -> TokenWeights:
        """Weight of every token; arguments and result are those of `Scorer.weights`.

        Raises ValueError for malformed arguments and for what the server refuses, PermissionError for a
        wrong token, RuntimeError if the server fails, and ConnectionError if there was no answer within
        `patience`.
        """
        rows = read_rows(
            input_ids, prompt_lengths, response_masks=response_masks, row_mask=row_mask
        )
        return self.score(rows)

    def score(self, rows: Rows) -> TokenWeights:
        """`weights` of rows that were read."""
        data = self._ask("POST", "/api/weights", encode_rows(rows, secrets.token_hex(16)))
        return decode_weights(data, rows)

    def info(self) -> dict[str, Any]:
        """Model, rule, revision and step, limits, and how much was scored."""
        return self._ask("GET", "/api/info")

    def refresh(self, checkpoint: str = "") -> dict[str, Any]:
        """Let the server take a checkpoint of its folder: its name, or none for the newest; then `info`."""
        return self._ask("POST", "/api/refresh", {"checkpoint": checkpoint} if checkpoint else {})

    def _ask(self, method: str, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of an answer; tries again, waiting twice as long each time, as long as that can help."""
        body = None if data is None else json.dumps(data, separators=(",", ":")).encode()
        ends = time.monotonic() + self.patience
        wait = FIRST_WAIT
        while True:
            try:
                status, said, answer = self._once(method, path, body)
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                message, said = f"{type(error).__name__}: {error}", 0.0
            else:
                if status < 400:
                    return answer
                message = str(answer.get("error", f"status {status}"))
                if status not in AGAIN:
                    raise ERRORS.get(status, ValueError)(f"scorer at {self.url}: {message}")
            pause = max(said, wait * random.uniform(0.5, 1.0))  # apart from other clients
            if time.monotonic() + pause > ends:
                raise ConnectionError(
                    f"scorer at {self.url}: no answer within {self.patience:g} s ({message}); check that "
                    "`flowtracer serve --score` runs there"
                )
            time.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)

    def _once(
        self, method: str, path: str, body: bytes | None
    ) -> tuple[int, float, dict[str, Any]]:
        """Status, seconds of Retry-After and JSON of one try; a connection of its own."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self.answer_seconds)
        headers = {"content-type": "application/json"} if body is not None else {}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, self._prefix + path, body, headers)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        answer = json.loads(content) if content else {}
        if not isinstance(answer, dict):
            raise json.JSONDecodeError("not an object", "", 0)
        said = response.getheader("retry-after") or ""
        return response.status, float(said) if said.isdecimal() else 0.0, answer
