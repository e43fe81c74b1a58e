"""Asks `flowtracer serve --score` for weights; the standard library is all that it needs."""

import http.client
import json
import random
import secrets
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from flowtracer.service.rows import Rows, TokenWeights, read_rows
from flowtracer.service.wire import decode_weights, encode_rows, too_large

PATIENCE = 600.0  # seconds, our choice: a server that is started again loads its model in that time
ANSWER_SECONDS = 600.0  # for one answer, our choice: long responses in a queue take a while
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0  # seconds between two tries, our choice
AGAIN = (408, 429, 502, 503, 504)  # statuses after which another try can succeed
ERRORS: dict[int, type[Exception]] = {
    400: ValueError, 401: PermissionError, 403: PermissionError, 409: ValueError, 413: ValueError,
    422: ValueError,
}  # fmt: skip


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

        Raises ValueError for a URL or a token that cannot be sent.
        """
        self.url, _, fragment = url.partition("#")
        self.url = self.url.rstrip("/")
        token = token or unquote(fragment.removeprefix("token="))
        if not (token.isascii() and token.isprintable()):
            raise ValueError(
                "token must consist of plain ASCII characters"
            )  # it is a secret: not shown
        self._secure, self._host, self._port, self._prefix = _address(self.url)
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
        wrong token, RuntimeError if the server fails or is not a scorer's, and ConnectionError if there was
        no answer within `patience`.
        """
        rows = read_rows(
            input_ids, prompt_lengths, response_masks=response_masks, row_mask=row_mask
        )
        return self.score(rows)

    def score(self, rows: Rows) -> TokenWeights:
        """`weights` of rows that were read."""
        refusal = too_large(len(rows), rows.tokens)
        if refusal is not None:  # here, as a server ends the connection before it has read so much
            raise ValueError(refusal)
        data = self._ask("POST", "/api/weights", encode_rows(rows, secrets.token_hex(16)))
        try:
            return decode_weights(data, rows)
        except ValueError as error:
            raise RuntimeError(f"scorer at {self.url}: {error}") from None

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
            except ssl.SSLCertVerificationError as error:  # it will not become valid
                raise ConnectionError(f"scorer at {self.url}: {error}") from None
            except (OSError, http.client.HTTPException) as error:
                message, said = f"{type(error).__name__}: {error}", 0.0
            else:
                if status < 300:
                    return answer
                message = str(answer.get("error", f"status {status}"))
                if status not in AGAIN:
                    raise ERRORS.get(status, RuntimeError)(f"scorer at {self.url}: {message}")
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
            try:
                connection.request(method, self._prefix + path, body, headers)
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses a request may answer and end before it has read all of it.
                if connection.sock is None:
                    raise
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            if response.status < 300:
                raise RuntimeError(f"{self.url} is not the address of `flowtracer serve --score`")
            answer = {}  # of a proxy, say
        said = response.getheader("retry-after") or ""
        return response.status, float(said) if said.isdecimal() else 0.0, answer


def _address(url: str) -> tuple[bool, str, int | None, str]:
    """Whether it is https, host, port and path. Raises ValueError for what no request can be sent to."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
        plain = url.isascii() and url.isprintable() and " " not in url
        if plain and host and parts.scheme in ("http", "https") and not parts.query:
            return parts.scheme == "https", host, port, parts.path
    except ValueError:
        pass
    raise ValueError(f"url is {url!r}; give one such as http://127.0.0.1:8642")
