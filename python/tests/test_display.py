"""What a notebook shows of a run."""

from html.parser import HTMLParser

from conftest import FRONTIER

import sharpbench


class Texts(HTMLParser):
    """The texts of a page, and the tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def test_text_has_the_answer_and_a_line_for_each_setting() -> None:
    run = sharpbench.load(FRONTIER)
    lines = repr(run).splitlines()
    assert lines[0] == "frontier quick on mnist-5k, 66 cells"
    assert lines[1:6] == run.answer
    assert lines[7].split("  ")[0] == "setting"
    assert len(lines) == 8 + len(run.report["rows"])


def test_table_agrees_with_the_program() -> None:
    run = sharpbench.load(FRONTIER)
    line = next(line for line in repr(run).splitlines() if line.startswith("late-sam"))
    assert " ".join(line.split()) == "late-sam 72.6 ± 1.8 +3.4 [+1.1, +5.7] 18% [4, 29] 1.12 1.12"


def test_html_has_the_same() -> None:
    run = sharpbench.load(FRONTIER)
    page = Texts()
    page.feed(run._repr_html_())
    assert page.open == []
    assert run.answer[0] in page.texts
    assert [row["name"] for row in run.report["rows"]] == [
        text for text in page.texts if text in {row["name"] for row in run.report["rows"]}
    ]
    assert "+3.4 [+1.1, +5.7]" in page.texts


def test_names_of_untrusted_suites_are_escaped() -> None:
    run = sharpbench.load(FRONTIER)
    run.report["rows"][0]["name"] = "<script>alert(1)</script>"
    run.report["suite"] = "<b>"
    run.report["answer"][0] = "a < b"
    shown = run._repr_html_()
    assert "<script" not in shown
    assert "&lt;b&gt; quick" in shown
    assert "a &lt; b" in shown
