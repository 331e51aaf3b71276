import re

import pytest

from analysis.reporting.escape import escape_latex, escape_markdown, prose_html, prose_latex, prose_markdown

NASTY = r"a|b_c_ 100% & #1 $x$ \y {z} <script>alert(1)</script> *b* [l](u) ~ ^ `q` --"


def test_nothing_of_a_name_is_left_to_latex():
    text = escape_latex(NASTY)
    assert not re.search(r"(?<!\\)[%&#$_]", text.replace(r"$-$", ""))
    assert "<" not in text and "|" not in text and "~" not in text and "`" not in text and "^" not in text
    assert "---" not in escape_latex("---") and escape_latex("--") == "-{}-"
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    assert escape_latex(r"\y") == r"\textbackslash{}y"


def test_latex_keeps_what_it_can():
    assert escape_latex("0.8 ± 0.1, -0.5 to 1e-3, a–b") == r"0.8 $\pm$ 0.1, $-$0.5 to 1e-3, a--b"
    assert escape_latex("[x] *") == "{[}x] {*}"
    assert prose_latex("see `a_b --c`") == r"see \texttt{a\_b -{}-c}"


def test_nothing_of_a_name_is_left_to_markdown():
    text = escape_markdown(NASTY)
    assert "<" not in text.replace("&lt;", "")
    assert not re.search(r"(?<!\\)[|*`\[\]$~]", text)
    assert text.startswith(r"a\|b_c\_ 100% &amp; #1 ")


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [("# h", r"\# h"), ("- item", r"\- item"), ("1. one", r"1\. one"), ("12) b", r"12\) b"), ("lr 1e-3", "lr 1e-3")],
)
def test_a_line_of_markdown_begins_no_list(plain, escaped):
    assert escape_markdown(plain) == escaped


def test_what_is_escaped_is_not_escaped_again():
    once = escape_markdown("a|b")
    assert escape_markdown(once) is once
    assert escape_latex(escape_latex("%")) == r"\%"


def test_code_in_sentences():
    assert prose_html("run `a <b>` & go") == "run <code>a &lt;b&gt;</code> &amp; go"
    assert prose_markdown("run `a|b` *now*") == r"run `a\|b` \*now\*"
    assert prose_markdown("`a`. - b") == "`a`. - b"
    assert prose_html("<b>one ` alone") == "&lt;b&gt;one ` alone"
