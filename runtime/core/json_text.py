"""JSON from files, other programs and boards: any text becomes a value or an error of ours."""

from __future__ import annotations

import json
import re
from typing import Any

HALF = re.compile(r"\\u[dD][89a-fA-F]")  # half of a surrogate pair, or a whole pair


def parse_json(text: str | bytes) -> Any:
    """The value of ``text``. Raises ValueError, with a short reason, for everything that is not JSON as RFC 8259 and
    UTF-8 define it, and for what could not be written again: half a surrogate pair, NaN, numbers with thousands of
    digits, and arrays in arrays in arrays …"""
    try:
        source = text if isinstance(text, str) else text.decode("utf-8-sig")
        source.encode()
        value = json.loads(source, parse_constant=_refuse)
        if HALF.search(source):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise ValueError("a text has half of a surrogate pair, which is not a character") from error
    except RecursionError as error:
        raise ValueError("its arrays or objects are nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON at character {error.pos + 1}") from error
    except ValueError as error:
        raise ValueError(str(error)[:200]) from error
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")
