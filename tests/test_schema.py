import pytest

from segcore.config import setting_keys
from segcore.schema import SCHEMA, make_schema, text


def test_the_file_is_what_the_code_makes():
    assert SCHEMA.read_text() == text(), "`make schema` writes it anew"


def test_every_setting_is_offered_nested_and_dotted():
    settings = make_schema()["$defs"]["settings"]["properties"]
    for key in setting_keys():
        group, name = key.split(".")
        assert key in settings
        assert name in settings[group]["properties"]


@pytest.mark.parametrize(("key", "value"), [("model.name", "unet"), ("loss.name", "bce_dice")])
def test_choices_are_listed(key, value):
    settings = make_schema()["$defs"]["settings"]["properties"]
    assert value in settings[key]["enum"]
