"""Characters that the figures' own font lacks.  Of matplotlib's others, STIXGeneral has an arc and cmr10 no bold."""

import logging
import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from analysis.figures import fonts, save, styled
from analysis.figures.output import Picture, finish
from tests.analysis.test_figures_names import make
from tests.analysis.test_figures_style import inked

ARC = "\u2312"


@pytest.fixture
def fall_back_on(monkeypatch):
    """A function that makes these the only other fonts, if they are installed."""

    def choose(*names):
        monkeypatch.setattr(fonts, "OTHERS", names)
        fonts.installed.cache_clear()

    yield choose
    fonts.installed.cache_clear()


def draw(text, **options):
    """A picture of that text."""
    with styled():
        figure = Figure(figsize=(3.4, 0.5), dpi=100)
        figure.text(0.1, 0.4, text, **options)
    return finish("drawn", "Drawn", figure, ["A text."])


def test_only_fonts_that_are_installed_are_named_the_own_one_first(monkeypatch, fall_back_on):
    names = ["Noto Emoji", "Noto Sans CJK JP", "Another", "DejaVu Sans"]
    monkeypatch.setattr(font_manager.fontManager, "get_font_names", lambda: names)
    fall_back_on("Hiragino Sans", "Noto Sans CJK JP", "Noto Emoji")
    assert fonts.families() == ["DejaVu Sans", "Noto Sans CJK JP", "Noto Emoji"]


def test_a_character_is_taken_from_the_font_that_has_it(fall_back_on):
    fall_back_on("STIXGeneral")
    borrowed = draw(ARC)
    fall_back_on()
    box = draw(ARC)
    assert (inked(borrowed.figure, 100) != inked(box.figure, 100)).any()
    assert borrowed.caption == "A text."
    assert box.caption == (
        f"A text. Boxes: characters that none of the installed fonts in use has ({ARC}); install Noto Emoji, say, and "
        "empty matplotlib's font cache."
    )


def test_outlines_of_another_font_are_not_embedded_as_truetype(fall_back_on, tmp_path):
    fall_back_on("STIXGeneral")
    for text, is_borrowed in ((ARC, True), ("plain", False)):
        _, pdf = save(draw(text), tmp_path)
        assert (b"/Type3" in pdf.read_bytes()) == is_borrowed


def test_latin_names_give_the_same_bytes_whatever_is_installed(fall_back_on, tmp_path):
    contents = []
    for names in ((), ("STIXGeneral", "cmr10")):
        fall_back_on(*names)
        contents.append([path.read_bytes() for path in save(draw("Größe 1e-3, µ = −2"), tmp_path)])
    assert contents[0] == contents[1]


def test_names_in_any_script_are_drawn_without_a_warning_and_boxes_are_explained(fall_back_on, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    fall_back_on("cmr10")
    made, notes = make(("日本語 🚀", "Ωμέγα Привет العربية"), ("Abyssinian", "Sphynx"))
    assert notes == []
    pictures = {picture.name: picture for picture in made}
    expected = (
        "Boxes: characters that none of the installed fonts in use has (日 本 語 🚀); install Noto Sans CJK and Noto "
        "Emoji, say, and empty matplotlib's font cache."
    )
    for name in ("fig06_small_loss", "fig18_small_test", "small_test_dice", "small_differences"):
        assert pictures[name].caption.endswith(expected)
        save(pictures[name], tmp_path)
    assert not caplog.records  # cmr10 has no bold, in which the table's arms are
    assert "Boxes" not in pictures["small_worst"].caption


def test_of_many_characters_some_are_named():
    names = [chr(0xE000 + number) for number in range(fonts.MOST_NAMED + 1)]  # of private use: no font has them
    assert f"({' '.join(names[:-1])} …)" in draw("".join(names)).caption


def test_other_warnings_are_heard_and_all_settings_are_back_afterwards(caplog):
    caplog.set_level(logging.INFO, font_manager.__name__)
    filters = list(warnings.filters)
    with pytest.raises(UserWarning, match="another"), styled():
        warnings.warn("another", stacklevel=1)
    assert list(warnings.filters) == filters
    assert logging.getLogger(font_manager.__name__).level == logging.INFO


def test_what_is_not_drawn_is_not_missing():
    figure = Figure()
    figure.text(0, 0, "a\nb\u200d\u2060")
    assert fonts.lacking(figure, [fonts.OWN]) == []


def test_a_picture_without_text_borrows_nothing():
    figure = Figure()
    figure.figimage(np.zeros((2, 2)))
    assert not fonts.borrows(Picture("a", "", "", figure).figure)
