import jax
import jax.numpy as jnp
import numpy as np
import pytest
from marks import slow_but

from tlx.errors import ConfigError
from tlx.images.mix import Mixup

IMAGES = np.random.default_rng(0).normal(size=(6, 8, 10, 3)).astype(np.float32)
MIXES = [Mixup(mixup=0.4), Mixup(cutmix=1.0), Mixup(mixup=1.0, cutmix=1.0)]
KEYS = jax.random.split(jax.random.key(7), 4000)

many = pytest.mark.parametrize("mix", [jax.jit(mix) for mix in MIXES], ids=["mixup", "cutmix", "both"])


def shares_of(mix, height=8, width=10):
    images = jnp.zeros((2, height, width, 1))
    return np.asarray(jax.jit(jax.vmap(lambda key: mix(images, key).share))(KEYS))


def is_blend(mixed):
    return np.allclose(mixed.inputs, mixed.share * IMAGES + (1 - mixed.share) * IMAGES[::-1], atol=1e-5)


def test_off_unless_told():
    assert not Mixup()
    assert all(MIXES)
    images, partner, share = Mixup()(IMAGES, KEYS[0])
    assert (images == IMAGES).all()
    assert partner.tolist() == [5, 4, 3, 2, 1, 0]
    assert share == 1


@many
def test_shapes_and_types(mix):
    images, partner, share = mix(jnp.asarray(IMAGES), KEYS[0])
    assert (images.shape, images.dtype) == (IMAGES.shape, jnp.float32)
    assert (partner.shape, partner.dtype) == ((6,), jnp.int32)
    assert (share.shape, share.dtype) == ((), jnp.float32)
    assert mix(jnp.asarray(IMAGES, jnp.bfloat16), KEYS[0]).inputs.dtype == jnp.bfloat16


@many
def test_partners_are_mutual_and_padding_stays(mix):
    for count, expected in ((6, [5, 4, 3, 2, 1, 0]), (5, [4, 3, 2, 1, 0, 5]), (2, [1, 0, 2, 3, 4, 5]), (0, range(6))):
        padded = np.where(np.arange(6)[:, None, None, None] < count, IMAGES, np.float32(1e30))
        images, partner, _ = mix(padded, KEYS[1], count)
        assert partner.tolist() == list(expected)
        assert (images[count:] == padded[count:]).all()
        assert abs(images[:count]).max(initial=0) < 10
        if count == 5:
            assert (images[2] == IMAGES[2]).all()  # its own partner


@many
def test_equal_images_stay_as_they_are(mix):
    equal = np.broadcast_to(IMAGES[:1], IMAGES.shape)
    for key in KEYS[:20]:
        assert (mix(equal, key).inputs == equal).all()


def test_mixup_blends_a_image_with_its_partner():
    mixup = jax.jit(Mixup(mixup=1.0))
    for key in KEYS[:20]:
        mixed = mixup(IMAGES, key)
        assert is_blend(mixed)
        np.testing.assert_allclose(mixed.inputs.mean(axis=0), IMAGES.mean(axis=0), atol=1e-5)
        assert 0 <= mixed.share <= 1


def test_cutmix_takes_each_pixel_from_one_of_the_two_and_the_share_is_the_area():
    sizes, covered, cutmix = set(), np.zeros((8, 10)), jax.jit(Mixup(cutmix=1.0))
    for key in KEYS[:200]:
        images, _, share = cutmix(IMAGES, key)
        own, others = (np.asarray(images) == IMAGES).all(-1), (np.asarray(images) == IMAGES[::-1]).all(-1)
        assert (own ^ others).all()
        assert (others == others[:1]).all()  # one box for the batch
        assert share == pytest.approx(1 - others[0].mean(), abs=1e-6)
        rows, columns = others[0].any(1), others[0].any(0)
        assert (others[0] == rows[:, None] & columns).all()
        for side in (rows, columns):
            assert (np.diff(np.flatnonzero(side)) == 1).all()
        sizes.add((rows.sum(), columns.sum()))
        covered += others[0] / 200
    assert len(sizes) > 10
    assert abs(covered - covered[::-1, ::-1]).max() < 0.15  # as often on either side


def by_definition(alpha, height, width, draws=20000):
    """The shares of CutMix as its authors' code draws them."""
    rng = np.random.default_rng(0)
    side = np.sqrt(1 - rng.beta(alpha, alpha, draws))
    sides = []
    for length in (height, width):
        half, centre = (length * side).astype(int) // 2, rng.integers(0, length, draws)
        sides.append(np.clip(centre + half, 0, length) - np.clip(centre - half, 0, length))
    return 1 - sides[0] * sides[1] / (height * width)


@pytest.mark.parametrize("alpha", slow_but("0.2", of=[0.2, 1.0, 5.0]))
def test_the_shares_are_distributed_as_published(alpha):
    shares = shares_of(Mixup(mixup=alpha))
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    cut, expected = shares_of(Mixup(cutmix=alpha), 32, 48), by_definition(alpha, 32, 48)
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        assert (cut <= level).mean() == pytest.approx((expected <= level).mean(), abs=0.03)


def test_with_both_on_each_has_an_equal_chance():
    both = jax.jit(Mixup(mixup=1.0, cutmix=1.0))
    blends = [is_blend(both(IMAGES, key)) for key in KEYS[:300]]
    assert 0.4 < np.mean(blends) < 0.6
    np.testing.assert_allclose(
        np.quantile(shares_of(Mixup(1.0, 1.0), 32, 48), [0.25, 0.5, 0.75]),
        np.quantile(np.concatenate([by_definition(1, 32, 48), np.linspace(0, 1, 20000)]), [0.25, 0.5, 0.75]),
        atol=0.04,
    )


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES, ids=["mixup", "cutmix", "both"])
def test_a_key_decides_and_jit_changes_nothing(mix):
    first, again, other = mix(IMAGES, KEYS[0]), mix(IMAGES, KEYS[0]), mix(IMAGES, KEYS[2])
    assert (first.inputs == again.inputs).all()
    assert first.share == again.share
    assert first.share != other.share
    compiled = jax.jit(mix)
    for count in (6, 3):
        eager, jitted = mix(IMAGES, KEYS[3], count), compiled(IMAGES, KEYS[3], count)
        np.testing.assert_allclose(jitted.inputs, eager.inputs, atol=1e-6)
        np.testing.assert_allclose(jitted.share, eager.share, rtol=1e-6)
        assert (jitted.partner == eager.partner).all()


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_bad_parameters_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"Mixup: {name} must be a finite number of at least 0, not {value}"):
        Mixup(**{name: value})
