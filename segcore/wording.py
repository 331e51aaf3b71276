"""What is wrong with a value, in words that a user can act on."""

import difflib
import re
from collections.abc import Iterable

from pydantic_core import ErrorDetails

DEVICES = r"^(auto|cpu|cuda(:\d+)?)$"
NAMES = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
# What the patterns of texts mean.
PATTERNS = {
    DEVICES: "must be auto, cpu, cuda, or the number of a CUDA device, such as cuda:1",
    NAMES: "must be of letters, digits, - and _, a letter or digit first",
}

# Names that other tools give to settings, and that are spelt too differently to be found.
ALIASES = {"learning_rate": "optimizer.lr", "num_epochs": "trainer.epochs", "max_epochs": "trainer.epochs"}


# What means something in Markdown or HTML; an underscore does only at a word's edge.
MARKUP = re.compile(r"[\\`*\[\]<>|~&#]|(?<![^\W_])_|_(?![^\W_])")


def plain_markdown(text: str) -> str:
    """A text from a file as Markdown that shows it as it is, on one line."""
    return MARKUP.sub(
        lambda found: f"&{'lt' if found[0] == '<' else 'amp'};" if found[0] in "<&" else f"\\{found[0]}",
        " ".join(text.split()),
    )


def nearest(word: str, choices: Iterable[str]) -> str:
    """'; did you mean X?' where one of the choices is spelt like `word`, else the empty text."""
    choices = list(choices)
    last = word.rpartition(".")[2]
    if last in ALIASES and ALIASES[last] in choices:
        return f"; did you mean {ALIASES[last]}?"
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    matches = [folded[match] for match in close]
    if not matches:  # a right name in the wrong group, or without its group
        matches = [choice for choice in choices if choice.rpartition(".")[2] == last][:1]
    return f"; did you mean {matches[0]}?" if matches else ""


def explain(error: ErrorDetails, value: object) -> str:
    """What pydantic found, in a sentence; choices come with the nearest spelling."""
    message = error["msg"].replace("Input should be", "must be").replace("String should", "must")
    message = message.replace("must be a valid boolean", "must be true or false")
    if error["type"] == "string_pattern_mismatch":
        message = PATTERNS[error.get("ctx", {})["pattern"]]
    if error["type"] == "literal_error" and isinstance(value, str):
        choices = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ").replace("'", "").split(", ")
        message += nearest(value, choices)
    return message
