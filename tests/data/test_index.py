import pytest
from sklearn.model_selection import train_test_split

from segcore.data.index import split
from segcore.errors import UserError


def test_the_split_is_scikit_learns_over_the_order_of_the_list() -> None:
    train, validation = split(range(3680), fraction=0.2, seed=42, setting="data.validation_fraction")
    oracle_train, oracle_validation = train_test_split(range(3680), test_size=0.2, random_state=42)
    assert (len(train), len(validation)) == (2944, 736)
    assert list(train) == sorted(oracle_train)
    assert list(validation) == sorted(oracle_validation)


@pytest.mark.parametrize("size", [0, 1])
def test_too_few_images_name_the_setting(size: int) -> None:
    with pytest.raises(UserError, match=rf"data\.validation_fraction=0\.2: {size} images are too few"):
        split(range(size), fraction=0.2, seed=42, setting="data.validation_fraction")
