"""Native code reads models in processes of their own, which take a third of a second of CPU to start. In the tests, the
same function is called once with the same model, and its answer is given again."""

import hashlib
import pickle
import sys
from pathlib import Path

CALLERS = ("rkface.convert.native_steps", "rkface.runtime.vision.bare_onnx")
LARGEST = 10_000_000  # bytes of an answer that is kept


def remember(call):
    """``call_in_subprocess`` as ``call``, with the answers of earlier calls. Errors come from a process each time."""
    answers = {}

    def remembered(function, *arguments, limits, **options):
        given = [[one, one.read_bytes()] if isinstance(one, Path) and one.is_file() else one for one in arguments]
        others = {name: value for name, value in options.items() if name != "progress"}
        named = (function.__module__, function.__qualname__, given, limits, others)
        key = hashlib.sha256(pickle.dumps(named)).digest()
        if key not in answers:
            answer = pickle.dumps(call(function, *arguments, limits=limits, **options))
            if len(answer) > LARGEST:
                return pickle.loads(answer)
            answers[key] = answer
        return pickle.loads(answers[key])

    return remembered


def patch_callers(patch):
    """Let the modules that are loaded already use ``remember``. ``patch`` is a MonkeyPatch."""
    for name in CALLERS:
        if name in sys.modules:
            module = sys.modules[name]
            patch.setattr(module, "call_in_subprocess", remember(module.call_in_subprocess))
