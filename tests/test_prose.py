"""Unclear wording is refused in code, comments, messages and docs. codespell checks spelling."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".py", ".md", ".html", ".js", ".css", ".toml", ".yml", ".yaml", ".json", ".sh", ".service"}
NAMES = {"Makefile", "Dockerfile"}
EXCLUDED = {"tests/test_prose.py"}

# Wording to avoid, and what to write instead. A space also matches a line break, an underscore and a comment's mark.
UNCLEAR = {
    r"mend(?:s|ed|ing|er)?": "fix",
    r"of such ones?": "name the things: 'leftover temporary files'",
    r"(?:is|are|was|were|be) none": "'there is no …', 'does not exist', or 'is not a …'",
    r"(?:that|which) (?:is|are|was|were) no (?!longer|more|less)\w+": "'that is not a …', 'is invalid'",
    r"for want of": "'because there is no …', 'without'",
    r"from -?\d+ on(?! to)": "'… or greater', 'starting with …'",
    r"whom?(?:so)?ever": "'anyone who', 'the person who', 'a client that'",
    r"(?:is|are|was|were) to be \w+ed": "'must be …', 'should be …'",
    r"who (?:is|are) to \w+": "'who should …', 'who must …'",
    r"what there (?:is|was|were|are)": "name it: 'the existing files'",
    r"(?:all|as) that there (?:is|are|was|were)": "name them: 'all photos'",
    r"as (?:they|it) (?:were|was)(?=[.,;:)])": "unchanged",
    r"(?:is|are|was|were|as) asked for": "requested",
    r"for ever(?! (?:more|greater|larger))": "forever, or 'without limit'",
    r"anew": "again",
    r"seldom": "rarely",
    r"unasked": "'by itself', 'silently', 'without being told to'",
    r"can(?:not)? be had": "'is available', 'is not available'",
    r"all but (?!one\b|two\b)": "'everything except'",
    r"(?:nought|naught|aught|lest|whence|thence|thereof|therein|hitherto|forthwith|herein|betwixt)": "plain words",
}

# British spellings. Old names of commands, options, paths and stored keys still work. They stand in quotes: "colour".
BRITISH = (
    r"(?:un|re|de)?(?:normal|quant|recogn|equal|optim|initial|serial|synchron|summar|organ|minim|maxim|real|local|final)"
    r"is(?:e[ds]?|er|ers|ing|ation|ations)",
    r"(?:dis)?colour(?:s|ed|ing|less)?",
    r"(?:mis)?behaviours?",
    r"neighbour\w*",
    r"favour\w*",
    r"centre[ds]?",
    r"grey(?:s|scale)?",
    r"licen[cs]e[sd]?(?<=ce)",
    r"labelled|labelling|cancelled|cancelling|modelled|modelling|travell\w+|signalled|signalling",
    r"dialogues?|catalogues?|artefacts?|programmes?|judgements?",
    r"whilst|amongst|learnt|spelt",
    r"analys(?:ed|es|ing)(?<!analyses)",
    r"enrol(?:s|ment|ments)?",
)
SPACE = r"(?:\s|_|#|//|\*|[\"']\s*\n\s*f?[\"'])+"


def words(*patterns: str) -> re.Pattern[str]:
    """Any of ``patterns`` as whole words; an underscore counts as a space. "is None" is code, so "none" matches in
    lower case only."""
    spaced = (pattern.replace(" ", SPACE) for pattern in patterns)
    flagged = (pattern if "none" in pattern else f"(?i:{pattern})" for pattern in spaced)
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(flagged)})(?![A-Za-z0-9])")


def british(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z\"'`/-])(?<!rkface )(?:{pattern})(?![A-Za-z])", re.IGNORECASE)


@pytest.fixture(scope="module")
def texts():
    """Name and text of each text file of the project, without the links in src/."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the project's files are not known")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    paths = [Path(name) for name in names if name and name not in EXCLUDED]
    return {
        path.as_posix(): (ROOT / path).read_text(encoding="utf-8")
        for path in paths
        if (path.suffix in SUFFIXES or path.name in NAMES) and ".min." not in path.name and (ROOT / path).is_file()
    }


@pytest.fixture(scope="module")
def unclear_texts(texts):
    """Those with a match of any pattern. Searching for all patterns at once takes less time than for each."""
    any_of_them = words(*UNCLEAR)
    return {name: text for name, text in texts.items() if any_of_them.search(text)}


@pytest.fixture(scope="module")
def vocabulary(texts):
    """Each word of the texts once: most British spellings are not among them, and need no search in the texts."""
    return "\n".join({word for text in texts.values() for word in re.findall(r"\w+", text)})


def list_matches(texts: dict[str, str], pattern: re.Pattern[str]) -> list[str]:
    """File, line and words of each match."""
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {' '.join(match[0].split())}"
        for name, text in texts.items()
        for match in pattern.finditer(text)
    ]


@pytest.mark.parametrize("pattern", UNCLEAR)
def test_the_wording_is_plain(unclear_texts, pattern):
    found = list_matches(unclear_texts, words(pattern))
    assert not found, f"write {UNCLEAR[pattern]} here:\n" + "\n".join(found)


@pytest.mark.parametrize("pattern", BRITISH)
def test_the_spelling_is_american(texts, vocabulary, pattern):
    found = list_matches(texts, british(pattern)) if british(pattern).search(vocabulary) else []
    assert not found, (
        "use US spelling here (recognizer, color, license, enroll). Write an old name that still works in quotes:\n"
        + "\n".join(found)
    )


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(?:is|are|was|were|be) none", "# a name that is\n# none"),
        (r"(?:is|are|was|were|be) none", "def test_a_key_that_is_none_is_refused"),
        (r"from -?\d+ on(?! to)", "not a number from 1 on"),
        (r"whom?(?:so)?ever", "Whoever asks"),
        (r"of such ones?", '"what is left of "\n        f"such ones"'),
    ],
)
def test_unclear_wording_is_found_across_lines_and_in_names(pattern, text):
    assert words(pattern).search(text)


def test_code_and_old_names_are_allowed():
    assert not words(r"(?:is|are|was|were|be) none").search("if value is None:")
    for text in ('"colour": "RGB"', "`enrol`", "rkface enrol", "--licence", "/v1/enrolments/photo"):
        assert not any(british(pattern).search(text) for pattern in BRITISH), text
    assert any(british(pattern).search("the colour of") for pattern in BRITISH)


# A terminal shows backticks as they are. Around a command that can be copied, they say where it begins and ends.
PROGRAMS = re.compile(
    r"(rkface|pip|sudo|apt|apt-get|chmod|chown|make|ssh|ssh-[\w-]+|systemctl|uname|docker|mv|umask|openssl|createdb|apprise|"
    r"export|df|v4l2-ctl|UV_PYTHON_INSTALL_DIR=\S+)(?![\w-])"
)
# Texts that become Markdown: reports, tables of the docs, and the descriptions of the API.
MARKDOWN = (
    "convert/report/",
    "runtime/web/",
    "runtime/hub_console/",
    "boards/profile.py",
    "boards/doctor/command.py",
    "tests/",
)


def shown_texts(code: str) -> Iterator[str]:
    """The texts in the ``code`` of a module that its users may see: strings, with NUL for what is put into them, and
    the docstrings of commands."""
    tree = ast.parse(code)
    inner = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inner.add(node.value)  # a docstring
        if isinstance(node, ast.FunctionDef) and [one.arg for one in node.args.args] == ["parser"]:
            yield ast.get_docstring(node) or ""
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.value


def quoted_names(code: str) -> set[str]:
    """What stands in backticks in the texts that users see, and is not a command."""
    quoted = {found for text in shown_texts(code) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)}
    return {one for one in quoted if not PROGRAMS.match(one.lstrip("(")) and not one.startswith("\0")}


def test_backticks_on_a_terminal_are_only_around_commands(texts):
    code = {name: text for name, text in texts.items() if name.endswith(".py") and not name.startswith(MARKDOWN)}
    found = {name: names for name, text in code.items() if "`" in text and (names := quoted_names(text))}
    assert not found, f"write these without backticks, or as a whole command: {found}"


def test_names_in_backticks_are_found_in_errors_options_and_the_help_of_commands():
    assert quoted_names('raise InputError(f"{what}: without `decoder`, " "or `rkface run`")') == {"decoder"}
    assert quoted_names('def run(parser):\n    """See `/v1/compare`."""') == {"/v1/compare"}
    assert not quoted_names('def find(name):\n    """See `name`."""\nprint(f"`{command}` or `(umask 077; x)`")')
