"""A guide as the tests read it: its headings, links, code blocks and tables."""

import re
from pathlib import Path

from tests.support.paths import ROOT

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")


def guides():
    """Every Markdown file of the project, not those of hidden or generated folders."""
    left_out = {"build", "dist", "node_modules"}
    found = (path for path in ROOT.rglob("*.md"))
    return sorted(
        path
        for path in found
        if not any(part.startswith(".") or part in left_out for part in path.relative_to(ROOT).parts)
    )


def read(name):
    """The text of a guide, named from the project's folder."""
    return (ROOT / name).read_text(encoding="utf-8")


def prose(text):
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def blocks(text, language):
    """The contents of the fenced blocks of a language, without their indentation."""
    found = ((indent, body) for indent, name, body in FENCE.findall(text) if name == language)
    return [re.sub(f"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def headings(text, level=None):
    """The titles in order; of one level alone where it is given."""
    found = re.findall(r"^(#{1,6}) +(.+?) *$", prose(text), re.MULTILINE)
    return [title for marks, title in found if level in (None, len(marks))]


def anchors(text):
    """What a link may name after "#": GitHub's names of the headings."""
    found = []
    for title in headings(text):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")
        again = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", one) is not None for one in found)
        found.append(f"{slug}-{again}" if again else slug)
    return found


def links(text):
    """The targets of links and pictures."""
    return LINK.findall(CODE.sub("", prose(text)))


def inline(text):
    """What stands between backticks."""
    return CODE.findall(prose(text))


def section(text, title):
    """The text below a heading, up to the next of its level or higher."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", text, re.DOTALL | re.MULTILINE)
    if found is None:
        raise ValueError(f"there is no heading {title!r}; the headings are {', '.join(headings(text))}")
    return found[2]


def table(text):
    """The cells of all tables of a text, line by line, without their heads."""
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
             for line in prose(text).splitlines() if line.startswith("|")]  # fmt: skip
    ruled = [all(set(cell) <= set("-: ") for cell in line) for line in lines]
    heads = {place - 1 for place, rule in enumerate(ruled) if rule}
    return [line for place, line in enumerate(lines) if not ruled[place] and place not in heads]


def missing(path: Path, target: str) -> str | None:
    """What is wrong with a link of a file: None, or a sentence."""
    if re.match(r"[a-z]+:", target):
        return None
    file, _, anchor = target.partition("#")
    whole = (path.parent / file).resolve() if file else path
    if not whole.exists():
        return f"{path.name} links to {target}, and there is no such file"
    if anchor and (whole.suffix != ".md" or anchor not in anchors(whole.read_text(encoding="utf-8"))):
        return f"{path.name} links to {target}, and {whole.name} has no such heading"
    return None
