"""Requests that nobody sends by mistake, from the description of the API, and a way to send them to the application."""

import json
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote

from hypothesis import strategies as st

HOSTILE_TEXTS = (
    "", " ", "\0", "\n", "..", "../../etc/passwd", "%00", "\x1b[2J", "\u202e", "e\u0301", "\ud800", "\U0001f600", "-1",
    "0", "1e999", "nan", "-inf", "٣", "²", "true", "null", "9" * 20, "9" * 400, "-" + "9" * 5000, "a" * 300, "a" * 5000,
    "' OR 1=1 --", "{}", "[", "<script>", "fe80::1%eth0",
)  # fmt: skip
ORIGINS = ("http://[::1", "http://[", "//", "null", "http://\uff0f", "http://localhost:99999999", "http://a b", "\\")
BODIES = (
    b"", b"{", b"\xff\xfe", b"null", b"[]", b"true", b'"\\ud800"', b"[" * 20_000, b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 9000 + b"1" + b"}" * 9000, b"9" * 400, b"9" * 5000, b"NaN", b"-Infinity", b"1e999",
    b"\xef\xbb\xbf{}", b'{"a": 1, "a": 2}', b"--x\r\n\r\n", b"\0" * 100,
)  # fmt: skip
HEADERS = (
    ("content-type", "application/json"), ("content-type", "text/plain"), ("content-type", "multipart/form-data"),
    ("content-type", "application/json; charset=\xff"), ("content-type", "\xe9"), ("cookie", "rkface=\xff; =; ;;a"),
    ("cookie", "rkface=" + "a" * 5000), ("cookie", '"'), ("authorization", "Bearer \xe9"), ("authorization", ""),
    ("content-length", "9" * 400), ("content-length", "\xb2"), ("content-length", "-1"), ("content-length", ""),
    ("transfer-encoding", "chunked"), ("x-csrf-token", "\xe9"), ("host", "[::1"), ("host", "[["), ("host", "\xe9"),
    ("host", "localhost:x"), ("range", "bytes=0-"), ("range", "bytes=9-1,-,x" + "9" * 400), ("if-none-match", "\xff"),
    ("if-modified-since", "Thu, 99 Foo 99999 99:99:99 GMT"), ("if-modified-since", "\xe9"), ("accept", "\0"),
    ("expect", "100-continue"), ("x-forwarded-for", "\xff"), ("if-range", "\xe9"),
)  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X" * 50)
HIDDEN = (
    "/", "/metrics", "/v1/openapi.json", "/v1/enrolments/photo", "/v1/enrolments/seen", "/static/app.js", "/static/{x}",
    "/{x}", "/v1/{x}", "/v1/cameras/{name}/live",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


def send(app, request, portal, chunk=4096):
    """The application's answer, asked for as uvicorn does, in the event loop of ``portal``, an
    ``anyio.from_thread.BlockingPortal``. Raises what the application lets through."""
    path, _, query = request.target.partition(b"?")
    scope = {
        "type": "http", "http_version": "1.1", "method": request.method, "path": unquote(path.decode("latin-1")),
        "raw_path": path, "query_string": query, "root_path": "", "headers": list(request.headers), "state": {},
        "client": ("127.0.0.1", 5000), "server": ("127.0.0.1", 8080), "scheme": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    pieces = [request.body[at : at + chunk] for at in range(0, len(request.body), chunk)] or [b""]
    sent = []

    async def receive():
        if pieces:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
        return {"type": "http.disconnect"}

    async def note(message):
        sent.append(message)

    portal.call(app, scope, receive, note)
    start = next(message for message in sent if message["type"] == "http.response.start")
    return Answer(start["status"], b"".join(message.get("body", b"") for message in sent))


def routes(app):
    """Method and path of each operation, and of the pages that are not in the description."""
    found = [
        (method.upper(), path)
        for path, operations in app.openapi()["paths"].items()
        for method in operations
        if method in ("get", "post", "put", "patch", "delete")
    ]
    return found + [("GET", path) for path in HIDDEN] + [("POST", path) for path in HIDDEN]


def requests(app, known, token):
    """Requests for all routes. ``known`` are texts that exist in the service, such as ids, so that some get through."""
    texts = st.sampled_from(HOSTILE_TEXTS) | st.sampled_from(known) | st.text(max_size=20)
    raw = st.builds(lambda text: quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="").encode(), texts)
    raw = raw | st.binary(max_size=8).map(lambda data: quote_from_bytes(data, safe="").encode())
    numbers = st.sampled_from((0, -1, 10**20, 10**400, 1e308, float("nan"), float("inf"), True, None, 1.5))
    json_values = st.recursive(numbers | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=4)
    specification = app.openapi()
    names = sorted(
        {name for one in specification["components"]["schemas"].values() for name in one.get("properties", {})}
    )
    settings = [
        "recognition.match",
        "recognition.window",
        "keep.appearances",
        "keep.unknown_faces",
        "keep.embeddings",
        "recognition.",
        ".",
    ]
    objects = st.dictionaries(st.sampled_from(names + settings) | texts, json_values, max_size=4)
    bodies = st.sampled_from(BODIES) | objects.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)
    bodies = bodies | st.tuples(objects, st.integers(0, 40)).map(lambda pair: json.dumps(pair[0]).encode()[: pair[1]])
    headers = st.lists(
        st.sampled_from(HEADERS).map(lambda pair: (pair[0].encode(), pair[1].encode("latin-1")))
        | st.sampled_from(ORIGINS).map(lambda origin: (b"origin", origin.encode())),
        max_size=3,
    )

    @st.composite
    def one(draw):
        method, path = draw(st.sampled_from(routes(app)))
        if draw(st.integers(0, 9)) == 0:
            method = draw(st.sampled_from(METHODS))
        parts = path.encode().split(b"/")
        target = b"/".join(draw(raw) if part.startswith(b"{") else part for part in parts)
        parameters = [
            parameter["name"]
            for operation in specification["paths"].get(path, {}).values()
            for parameter in operation.get("parameters", ())
            if parameter["in"] == "query"
        ]
        if parameters and draw(st.integers(0, 3)):
            chosen = draw(st.lists(st.sampled_from(parameters), min_size=1, max_size=4))
            target += b"?" + b"&".join(name.encode() + b"=" + draw(raw) for name in chosen)
        more = draw(headers)
        mine = [(b"host", b"localhost"), (b"x-csrf-token", token.encode()), (b"content-type", b"application/json")]
        replaced = {name for name, _ in more}
        kept = [pair for pair in mine if pair[0] not in replaced]
        body = draw(bodies) if method not in ("GET", "HEAD") or draw(st.booleans()) else b""
        return Request(method, target, tuple(kept + more), body)

    return one()
