"""Addresses that may contain secrets: what of them may be shown, and whether they can be used.

Everything that shows an address or the message of another program (logs, errors, health, events, `rkface config show`)
takes it from ``mask_address`` or ``mask_secrets``. Removing too much is better than too little.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import SplitResult, unquote, urlsplit

from .errors import InputError
from .text import find_hidden

MASK = "…"
# Without the sign itself, because what is before it in a message would count as a password.
ENCODE = "percent-encode # / ? in passwords: write # as %23, / as %2F, ? as %3F, the at sign as %40, a space as %20"
# A name with one of these parts, or with one of these ends, is that of a secret, or of the user that belongs to it.
PARTS = (
    "pas", "pwd", "psw", "secret", "token", "auth", "signature", "credential", "cookie", "session", "kennwort",
    "senha", "clave", "bearer",
)  # fmt: skip
ENDS = (
    "key", "pw", "sig", "user", "usr", "uid", "userid", "username", "user-id", "user_id", "code", "hash", "jwt", "sid",
    "login", "account", "pin", "mdp",
)  # fmt: skip
SHORT = ("u", "p", "pw", "usr", "id")
PLACEHOLDERS = ("VALUE", "FILE")  # of our own messages, instead of a value
# Parts of a query whose values are shown.
SHOWN = """audio camera channel codec compression fps height linkencryption mode multicast profile proto protocol
quality rate resolution rtsp_transport stream subtype transport transportmode type unicast video videocodec width"""
PLAIN = frozenset(SHOWN.split())
# Schemes are short; without a limit, a search in a long word would take time that grows with its square.
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):[/\\]+")
# "//host" and "rtsp//host", of which a part is missing.
NO_SCHEME = re.compile(r"[^\w/]{0,30}([A-Za-z][A-Za-z0-9+.-]{0,30})?//+")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(%[\w.%-]+)?\]|[\w.-]+)?(:\d{1,5})?")
MASKED = re.compile(f"{MASK}[,.;:]?")  # of a sentence of ours
PAIR = re.compile(r"(?<![\w.%+-])([\w.%+-]+?)(\s*=\s*|%3[Dd])")
ELEMENT = re.compile(r"\s*[A-Za-z][\w-]*\s")  # of a GStreamer pipeline
PROPERTY = re.compile(r"(?<!\S)([A-Za-z][\w-]*(?:::[\w-]+)*)\s*=\s*")
NAMED = re.compile(r"(?<![\w.%+-])([\w.%+-]+)(=)(\"[^\"]*\"|'[^']*'|[^\s\"'&;,]+)")
RANDOM = 16  # characters: so long a part of a path, with letters and digits, may be a secret, as webhooks have it


def mask_address(address: str) -> str:
    """Return ``address``, the source of a camera or a URL, without user, password, and other secrets in it.

    It need not be valid: an address with a space, with one slash, or without rtsp:// has a password too. GStreamer
    pipelines and plain paths are allowed.
    """
    text = unicodedata.normalize("NFKC", address) if re.search("[＠﹫]", address) else address
    scheme = SCHEME.match(text.strip())
    if scheme is None:
        return "!".join(map(_mask_element, _split_pipeline(text))) if ELEMENT.match(text) else _mask_user(text)
    start, rest = f"{scheme[1]}://", text.strip()[scheme.end() :]
    return start + _mask_rest(rest)


def mask_secrets(text: str) -> str:
    """Return ``text``, such as the message of another program, without the secrets of addresses and without the values
    of names such as password, token and user-pw."""
    return "\n".join(map(_mask_line, text.split("\n")))


def split_address(address: str, what: str, schemes: tuple[str, ...]) -> SplitResult:
    """Return the parts of ``address``.

    Raises InputError, which calls it ``what`` and contains no secret, if it is not a valid address with one of
    ``schemes`` and a host.
    """
    shown = f"{what} {mask_address(address)!r}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, None
    if parts is None or not host or parts.scheme not in schemes or port == 0 or not _is_host(host):
        begin = " or ".join(f"{scheme}://" for scheme in schemes)
        raise InputError(f"{shown} must begin with {begin} and a host{f'; {ENCODE}' if '@' in address else ''}")
    return parts


def check_http_address(url: str, what: str = "the webhook's URL") -> SplitResult:
    """The parts of ``url``. Raises InputError, without any secret in it, if it cannot be ``what``: an address of HTTP
    or HTTPS."""
    parts = split_address(url, what, ("https", "http"))
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(f"{what} contains characters that must be written as %XX, or in the host as xn--…")
    if parts.username or parts.password:
        raise InputError(f"{what} contains a user or password, which logs would show: use a header instead")
    return parts


def check_host(host: str) -> None:
    """Raise InputError, without a secret in it, unless ``host`` is a host name or an IP address, without a port."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[\w.-]+)?", host):
        shown = "an address with a user or password" if "@" in host else repr(mask_address(host)[:100])
        raise InputError(f"{shown} is not a host name or an IP address: write it without scheme, port and password")


def check_topic_start(start: str) -> None:
    """Raise InputError unless ``start`` can be the start of the topics of an MQTT broker."""
    if re.search(r"[+#]|^\$", start) or find_hidden(start):
        raise InputError("the start of topics must be visible text without + and #")


def is_this_machine(host: str) -> bool:
    """Whether ``host`` always means the machine itself, so that what is sent there is on no network."""
    return host in ("localhost", "::1") or host.startswith("127.")


def is_secret_name(name: str) -> bool:
    """Return whether a value of this name in a query or a pipeline is a secret, or the user that belongs to one."""
    plain = unquote(name).lower()
    return plain in SHORT or plain.endswith(ENDS) or any(part in plain for part in PARTS)


def _is_host(host: str) -> bool:
    return ":" in host or re.fullmatch(r"[\w.-]{1,253}", host) is not None


def _mask_line(line: str) -> str:
    """A line of free text, with any number of addresses."""
    shown = ""
    while found := SCHEME.search(line):
        # A password may contain spaces and quotes, so the address may go on to the last @.
        end = max(line.rfind("@"), found.end() - 1) + 1
        end += len(re.match(r"[^\s\"'<>]*", line[end:])[0])  # type: ignore[index] # it may be empty
        shown += _mask_named(line[: found.start()]) + mask_address(line[found.start() : end])
        line = line[end:]
    return shown + _mask_named(line)


def _mask_rest(rest: str) -> str:
    """What follows the scheme of an address."""
    rest = _mask_pairs(rest)
    netloc, end = _split_at_end(rest)
    decoded = _decode(netloc)
    if "@" in end:
        # Either the password has a / or ?, or this @ belongs to the path. A netloc that cannot be a host decides.
        middle, _, last = rest.rpartition("@")
        if "@" in decoded or HOST.fullmatch(netloc) or "=" in middle:
            return MASK
        netloc, end = _split_at_end(last)
    elif "@" in decoded:
        netloc = decoded.rpartition("@")[2]
    path, question, query = end.partition("?")
    path, sign, _ = path.partition("#")
    host = netloc if HOST.fullmatch(netloc) or MASKED.fullmatch(netloc) else MASK
    shown = "/".join(MASK if _is_random(part) else part for part in path.split("/"))
    return host + shown + (f"#{MASK}" if sign else question + _mask_query(query))


def _decode(text: str) -> str:
    """``text`` without percent-encoding: a whole address may have been encoded, and more than once."""
    for _ in range(3):
        text = unquote(text)
    return text


def _is_random(part: str) -> bool:
    digits, letters = (sum(map(kind, part)) for kind in (str.isdigit, str.isalpha))
    return len(part) >= RANDOM and digits > 1 and letters > 1 and "." not in part and MASK not in part


def _split_pipeline(text: str) -> list[str]:
    """The elements of a GStreamer pipeline; a ! in quotes does not end one."""
    elements, quote = [""], ""
    for one in text:
        quote = "" if one == quote else quote or (one if one in "\"'" else "")
        if one == "!" and not quote:
            elements.append("")
        else:
            elements[-1] += one
    return elements


def _split_at_end(rest: str) -> tuple[str, str]:
    found = re.search(r"[/\\?#]", rest)
    return (rest, "") if found is None else (rest[: found.start()], rest[found.start() :])


def _mask_query(query: str) -> str:
    query, sign, _ = query.partition("#")
    shown = []
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        plain = unquote(name).lower() in PLAIN or value == MASK
        shown.append(part if plain and equals else f"{name}={MASK}" if equals else MASK if part else "")
    return "&".join(shown) + (f"#{MASK}" if sign else "")


def _mask_pairs(text: str) -> str:
    """``text``, an address or a part of it, without the values of secret names. A value ends at the next NAME=."""
    shown, position = "", 0
    for found in PAIR.finditer(text):
        if found.start() < position or not is_secret_name(found[1]):
            continue
        following = re.compile(r"[&;](?=[\w.%+-]+=)").search(text, found.end())
        end = following.start() if following else len(text)
        shown += text[position : found.end()] + MASK
        position = end
    return shown + text[position:]


def _mask_element(element: str) -> str:
    """An element of a GStreamer pipeline."""
    found = list(PROPERTY.finditer(element))
    shown = _mask_user(element[: found[0].start()] if found else element)
    ends = [*(one.start() for one in found[1:]), len(element)]
    for one, end in zip(found, ends, strict=False):
        value = element[one.end() : end].rstrip()  # up to the next property: a password may contain spaces
        bare = value.strip("\"'")
        masked = mask_address(bare) if SCHEME.match(bare) else _mask_user(bare)
        shown += one[0] + (MASK if is_secret_name(one[1]) else value.replace(bare, masked, 1))
        shown += element[one.end() + len(value) : end]
    return shown


def _mask_user(text: str) -> str:
    """``user:password@host/path`` without what is before the @, and without the values of secret names."""
    if SCHEME.search(text):
        return mask_secrets(text)
    text = _mask_pairs(text)
    for form in (text, _decode(text)):
        before, sign, after = form.rpartition("@")
        if sign and ":" in before and (NO_SCHEME.match(form) or not form.startswith(("/", "."))):
            text = after
            break
    path, question, query = text.partition("?")
    return path + question + _mask_query(query) if question else text


def _mask_named(text: str) -> str:
    """Free text without the values of secret names, and without ``user:password@``."""
    text = re.sub(r"\S+", lambda word: _mask_word(word[0]), text)
    text = re.sub(r"(?i)\b(bearer|basic|digest)\s+[\w.~+/=-]{6,}", rf"\1 {MASK}", text)

    def mask(found: re.Match[str]) -> str:
        secret = any(part in unquote(found[1]).lower() for part in PARTS) or found[1].lower().endswith(("key", "pw"))
        return f"{found[1]}={MASK}" if secret and found[3] not in PLACEHOLDERS else found[0]

    return NAMED.sub(mask, text)


def _mask_word(word: str) -> str:
    before, sign, after = (word if "@" in word else _decode(word)).rpartition("@")
    start = NO_SCHEME.match(before)
    user, colon, _ = before[start.end() if start else 0 :].partition(":")
    return after if sign and colon and "/" not in user else word
