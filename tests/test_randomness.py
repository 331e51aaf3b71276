"""Seeds and generators."""

import torch

from segcore.randomness import derive_seed, generator


def test_seeds_are_the_same_on_every_machine_and_in_every_process() -> None:
    # The first eight bytes of sha256("42/weights") and sha256("42/order/7"), by sha256sum, without the lowest bit.
    assert derive_seed(42, "weights") == 1218831237610215275
    assert derive_seed(42, "order", 7) == 7609744748452665700


def test_every_word_matters() -> None:
    purposes: list[tuple[str | int, ...]] = [
        (),
        ("order",),
        ("augmentation",),
        ("order", 1),
        ("order", 2),
        ("order", 12),
    ]
    seeds = {derive_seed(seed, *purpose) for seed in (42, 43, 44) for purpose in purposes}
    assert len(seeds) == 3 * len(purposes)
    assert derive_seed(4, 21) != derive_seed(42, 1)


def test_seeds_have_63_bits() -> None:
    seeds = [derive_seed(seed, "weights") for seed in range(1000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62 > min(seeds)


def test_generators_of_one_purpose_draw_the_same_and_of_two_differ() -> None:
    first, again, other = generator(42, "order", 1), generator(42, "order", 1), generator(42, "augmentation", 1)
    draw = torch.rand(100, generator=first)
    assert torch.equal(draw, torch.rand(100, generator=again))
    assert not torch.equal(draw, torch.rand(100, generator=other))


def test_generators_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    torch.rand(10, generator=generator(42, "weights"))
    assert torch.equal(torch.get_rng_state(), before)
