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


@pytest.mark.parametrize(("size", "fraction"), [(2, 0.6), (9, 0.9)])
def test_a_fraction_that_leaves_nothing_names_the_setting(size: int, fraction: float) -> None:
    with pytest.raises(UserError, match=rf"data\.test_fraction={fraction}: {size} images are too few"):
        split(range(size), fraction=fraction, seed=42, setting="data.test_fraction")


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9, 0.99])
def test_only_sizes_that_scikit_learn_refuses_are_too_few(fraction: float) -> None:
    for size in range(1, 120):
        try:
            train_test_split(range(size), test_size=fraction, random_state=0)
        except ValueError:
            with pytest.raises(UserError):
                split(range(size), fraction=fraction, seed=0, setting="data.test_fraction")
        else:
            rest, part = split(range(size), fraction=fraction, seed=0, setting="data.test_fraction")
            assert rest
            assert part


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_wrong_seed_is_not_called_too_few_images(seed: int) -> None:
    with pytest.raises(ValueError, match="random_state"):
        split(range(10), fraction=0.2, seed=seed, setting="data.validation_fraction")
