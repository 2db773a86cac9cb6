"""Hooks of the documentation site. The same Markdown has to work in the repository and on the site.

In the repository, docs pages link to files outside docs/ (``../Makefile``) and README.md links to pages in docs/. The
site has only docs/, so these hooks add the missing files to it and rewrite the links:

- README.md, CHANGELOG.md and CONTRIBUTING.md become pages in ``project/``
- every other file that a page links to is copied to ``repository/``
- two scripts that `make docs` takes from the npm registry are added: Mermaid, which draws the diagrams, and
  iframe-worker, which lets search work in a page opened from the disk. Without npm, diagrams are shown as text.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "project/overview.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
}
MERMAID = ROOT / "build/docs-assets/mermaid.min.js"
IFRAME_WORKER = ROOT / "build/docs-assets/iframe-worker.js"
LINK = re.compile(r"(\]\(|(?:src|href)=\")(?!\w+:|#|/)([^)\s\"#]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    if MERMAID.exists():
        config.extra_javascript.append("assets/mermaid.min.js")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    linked = set()
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        if (ROOT / name).exists():
            text = (ROOT / name).read_text(encoding="utf-8")
            linked |= {target for target in _targets(text, ROOT) if not target.startswith("docs/")}
            files.append(File.generated(config, PAGES[name], content=_links_on_site(text, ROOT, depth=1)))
    for page in files.documentation_pages():
        if page.abs_src_path:
            linked |= _targets(Path(page.abs_src_path).read_text(encoding="utf-8"), ROOT / "docs")
    for target in sorted(linked - set(PAGES)):
        if not target.startswith("docs/") and (ROOT / target).is_file():
            files.append(File.generated(config, f"repository/{target}", abs_src_path=str(ROOT / target)))
    for script in (MERMAID, IFRAME_WORKER):
        content = script.read_text(encoding="utf-8") if script.exists() else ""
        files.append(File.generated(config, f"assets/{script.name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if not page.file.src_uri.startswith("project/"):
        markdown = _links_on_site(markdown, ROOT / "docs", depth=0)
    return markdown if MERMAID.exists() else markdown.replace("```mermaid", "```text")


def _targets(text: str, folder: Path) -> set[str]:
    """The files that ``text``, a page in ``folder``, links to, relative to the repository's root."""
    paths = ((folder / match[2]).resolve() for match in LINK.finditer(text))
    return {path.relative_to(ROOT).as_posix() for path in paths if path.is_relative_to(ROOT)}


def _links_on_site(text: str, folder: Path, depth: int) -> str:
    """``text``, a page in ``folder``, with links for a page that is ``depth`` folders deep on the site."""

    def rewrite(match: re.Match[str]) -> str:
        path = (folder / match[2]).resolve()
        if not path.is_relative_to(ROOT):
            return match[0]
        target = path.relative_to(ROOT).as_posix()
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        else:
            target = PAGES.get(target, f"repository/{target}")
        return f"{match[1]}{'../' * depth}{target}"

    return LINK.sub(rewrite, text)
