"""Reads a report as a browser would: its sections, links, cells, and the class of its verdict."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input", "hr"}


@dataclass
class ParsedPage(HTMLParser):
    """``sections`` are the anchors in order, ``contents`` the anchors that the contents link to, ``addresses`` every
    src and href, ``cells`` the texts of th and td, ``verdict`` (class, headline), ``tags`` the name of every
    element."""

    html: str
    sections: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    verdict: tuple[str, str] = ("", "")
    tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self._open = []  # names of the open elements, with the class of a verdict
        self.feed(self.html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.addresses += [found[name] for name in ("src", "href") if name in found]
        if tag == "section":
            self.sections.append(found["id"])
        if tag == "a" and "nav" in self._open:
            self.contents.append(found["href"].removeprefix("#"))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "div" and found.get("class", "").startswith("verdict "):
            self.verdict = (found["class"].removeprefix("verdict "), "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:  # as a browser: what is open inside ends, too
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if self.cells and {"td", "th"} & set(self._open):
            self.cells[-1] += data
        if self._open[-1:] == ["b"] and self.verdict[0] and not self.verdict[1]:
            self.verdict = (self.verdict[0], data)
