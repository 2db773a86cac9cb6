"""Reads InsightFace's verification files (lfw.bin, cfp_fp.bin, agedb_30.bin): a pickle of encoded crops and labels.

A pickle is a program: loading it runs whatever its author wrote. Here, pickletools only reads the instructions, and
only those that build lists, tuples, bytes and numbers are executed. The functions that pickles of NumPy arrays and of
Python 2 name are recognized by their name and never called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkface.runtime.core.errors import InputError
from rkface.runtime.core.files import read_file
from rkface.runtime.core.text import in_a_line

MAX_BYTES = 2_000_000_000  # for comparison: cfp_fp.bin has about 90 MB
MAX_INSTRUCTIONS = 5_000_000  # of the pickle: an image and its label take about four
LONGEST_NAME = 80  # of a function: longer names are cut in messages

_KEEP, _FETCH = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}, {"GET", "BINGET", "LONG_BINGET"}
_NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_KNOWN = {(module, name) for module in _NUMPY for name in ("_reconstruct", "scalar", "dtype", "ndarray", "_frombuffer")}
_ONE_BYTE = {"u1", "|u1", "uint8", "b1", "|b1", "bool", "?"}
_MARK = object()
# Instructions that push a value and pop none.
_ATOMS: dict[str, Callable[[Any], Any]] = {
    "MARK": lambda _: _MARK,
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2"), lambda given: given),
    **dict.fromkeys(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), lambda given: given),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), bytes),
    # Strings of Python 2 are bytes, which pickletools decodes as Latin-1.
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), lambda given: given.encode("latin-1")),
}


@dataclass(frozen=True)
class BinFile:
    """A verification file.

    images  2·P encoded crops; those of pair p are at 2p and 2p + 1
    same    P bool: the pair shows one person
    """

    images: list[bytes]
    same: list[bool]


@dataclass(frozen=True)
class _Name:
    """Something that the pickle would import. It is only recognized, never imported."""

    module: str
    name: str


@dataclass
class _Array:
    """A NumPy array or type under construction, with one byte for each element."""

    data: bytes = b""


class _Refused(Exception):
    """The pickle asks for something that no verification file needs."""


def read_bin(path: Path) -> BinFile:
    """The pairs in the verification file ``path``. Nothing in the file is ever executed.

    Raises InputError if the file is missing, too large, truncated, or not a verification file, or if loading it with
    pickle would call other functions.
    """
    try:
        value = plain_pickle(read_file(path, MAX_BYTES))
    except _Refused as error:
        raise InputError(f"{path}: {error}: do not trust this file (nothing in it was executed)") from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(
            f"{path} is truncated or damaged, or it is not an InsightFace verification file ({_short(error)}): copy it "
            "again"
        ) from error
    except MemoryError as error:
        raise InputError(f"{path}: there is not enough memory to read it") from error
    return _checked(path, value)


def _checked(path: Path, value: Any) -> BinFile:
    """``value`` as a BinFile. Raises InputError if it has another form."""
    images, same = value if isinstance(value, tuple | list) and len(value) == 2 else (None, None)
    same = list(same.data) if isinstance(same, _Array) else same
    if not isinstance(images, list) or not isinstance(same, list):
        raise InputError(
            f"{path} is not a verification file: it must contain (list of encoded images, list of booleans)"
        )
    images = [image.data if isinstance(image, _Array) else image for image in images]
    if not all(isinstance(image, bytes) for image in images) or not all(
        isinstance(one, int) and one in (0, 1) for one in same
    ):
        raise InputError(
            f"{path} is not a verification file: its lists contain other things than encoded images and booleans"
        )
    if not same:
        raise InputError(f"{path} has no pairs: its lists are empty")
    if len(images) != 2 * len(same):
        raise InputError(f"{path}: {len(images)} images are not {len(same)} pairs: copy it again")
    return BinFile(images, [bool(one) for one in same])


def plain_pickle(data: bytes) -> Any:
    """The lists, tuples, bytes, texts and numbers in the pickle ``data``; arrays of bytes become ``_Array``.

    Raises _Refused if the pickle asks for anything else, and ValueError, IndexError, KeyError, TypeError or
    AttributeError if it is damaged. Values are never compared, hashed or printed as a whole: tuples that contain one
    tuple twice, nested 100 deep, would take longer than anybody's life.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for count, (opcode, given, _) in enumerate(pickletools.genops(data)):
        if count > MAX_INSTRUCTIONS:
            raise _Refused(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
        name = opcode.name
        if name in ("PROTO", "FRAME", "STOP"):
            continue
        if name in _ATOMS:
            stack.append(_ATOMS[name](given))
        elif name in _KEEP:
            memo[len(memo) if given is None else given] = stack[-1]
        elif name in ("APPEND", "APPENDS"):
            added = _to_mark(stack) if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(added)
        elif name == "BUILD":
            state = stack.pop()
            _fill(stack[-1], state)
        else:
            stack.append(_made(name, given, stack, memo))
    (value,) = stack
    return value


def _to_mark(stack: list[Any]) -> list[Any]:
    at = next((at for at in reversed(range(len(stack))) if stack[at] is _MARK), None)
    if at is None:
        raise ValueError("a list has no start")
    found = stack[at + 1 :]
    del stack[at:]
    return found


def _made(name: str, given: Any, stack: list[Any], memo: dict[int, Any]) -> Any:
    """The result of an instruction that reads ``stack`` or ``memo``."""
    if name in _FETCH:
        return memo[given]
    if name == "LIST":
        return _to_mark(stack)
    if name == "TUPLE":
        return tuple(_to_mark(stack))
    if name in ("TUPLE1", "TUPLE2", "TUPLE3"):
        return tuple(reversed([stack.pop() for _ in range(int(name[-1]))]))
    if name in ("GLOBAL", "STACK_GLOBAL"):
        module, item = given.split(" ", 1) if name == "GLOBAL" else reversed([stack.pop(), stack.pop()])
        if not isinstance(module, str) or not isinstance(item, str):
            raise ValueError("the name of a function is not a text")
        if (module, item) not in _KNOWN:
            raise _Refused(f"it asks for {_short(module)}.{_short(item)}, which no verification file needs")
        return _Name(module, item)
    if name == "REDUCE":
        arguments = stack.pop()
        return _call(stack.pop(), arguments)
    raise _Refused(f"it contains the instruction {name}, which no verification file needs")


def _call(what: Any, arguments: Any) -> Any:
    """The result that a call of ``what`` would have; nothing is called."""
    name = what.name if isinstance(what, _Name) else None
    if name == "dtype":
        kind = arguments[0].decode("latin-1") if isinstance(arguments[0], bytes) else arguments[0]
        if not isinstance(kind, str) or kind not in _ONE_BYTE:
            named = _short(kind) if isinstance(kind, str) else "another type"
            raise _Refused(f"it contains an array of {named}, but only bytes and booleans are expected")
        return _Array()
    if name == "_reconstruct":
        return _Array()
    if name == "scalar":
        return _bytes(arguments[1])[0]
    if name == "_frombuffer":
        return _Array(_bytes(arguments[0]))
    raise _Refused("it calls a function that no verification file needs")


def _fill(what: Any, state: Any) -> None:
    """Set NumPy's state of an array: version, shape, type, order, data. The state of a type is ignored."""
    if not isinstance(what, _Array):
        raise _Refused("it changes an object that is not an array")
    if len(state) == 5 and isinstance(state[2], _Array):
        what.data = _bytes(state[4])


def _short(text: object) -> str:
    """The start of a text from the file, without characters that could change a terminal."""
    return in_a_line(str(text)[:LONGEST_NAME])


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("the content of an array is not bytes")
    return value
