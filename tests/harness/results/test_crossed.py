"""The interval over seeds and test images: simulated on data shaped like the studies', with errors it must not make."""

import math

import numpy as np
import pytest
from scipy import special
from scipy import stats as scipy_stats

from harness.results import stats
from harness.results.crossed import over_seeds_and_images

# Seeds, images, share of right answers, standard deviations of a latent score: of a seed, of an image for one of the
# two models, of both together. They give the ratios of mean squares that the committed studies have (median over their
# variants): MS_seed / MS_resid of 0.9, 4.3, 1.4 and 2.8, and MS_image / MS_resid of 1.07, 1.3, 1.06 and 1.02.
DIGITS = (8, 360, 0.95, 0.01, 0.08, 0.6)
NO_POSITION = (5, 360, 0.65, 0.13, 0.25, 0.6)
FASHION_3 = (3, 5000, 0.80, 0.010, 0.11, 0.6)
FASHION_5 = (5, 5000, 0.75, 0.020, 0.05, 0.6)
SHAPES = {"digits": DIGITS, "no position": NO_POSITION, "fashion 3": FASHION_3, "fashion 5": FASHION_5}
BOTH = {"seeds": (0.25, 0.0), "images": (0.0, 0.8), "both": (0.15, 0.8)}  # what varies, far more than in the studies
STUDIES = {360: 1000, 5000: 300}  # by images
LEVEL = 0.95


def trained(generator, seeds, images, share, seed_sd, image_sd, noise):
    """Right minus wrong [seeds, images] of two models alike: an image suits one or the other, so does a seed."""
    hard = generator.standard_normal(images, dtype=np.float32)
    limit = np.float32(special.ndtri(share) * math.sqrt(1 + seed_sd**2 + image_sd**2 + noise**2))
    answers = []
    for _ in range(2):
        own = hard + np.float32(image_sd) * generator.standard_normal(images, dtype=np.float32)
        skill = np.float32(seed_sd) * generator.standard_normal((seeds, 1), dtype=np.float32)
        each = np.float32(noise) * generator.standard_normal((seeds, images), dtype=np.float32)
        answers.append(own + skill + each + limit > 0)
    return answers[0].astype(float) - answers[1]


def mean_squares(differences):
    """Of seeds, of images and of the residual: the sums of squares of a two-way table, the last by subtraction."""
    seeds, images = differences.shape
    grand = differences.mean()
    by_seed = images * ((differences.mean(axis=1) - grand) ** 2).sum()
    by_image = seeds * ((differences.mean(axis=0) - grand) ** 2).sum()
    rest = ((differences - grand) ** 2).sum() - by_seed - by_image
    return by_seed / (seeds - 1), by_image / (images - 1), rest / ((seeds - 1) * (images - 1))


def twice(differences, confidence=LEVEL):
    """The planted error: the noise of a seed on an image in the part of the seeds and again in that of the images."""
    seeds, images = differences.shape
    over = special.stdtrit(seeds - 1, (1 + confidence) / 2) * differences.mean(axis=1).std(ddof=1) / math.sqrt(seeds)
    across = special.ndtri((1 + confidence) / 2) * differences.mean(axis=0).std(ddof=1) / math.sqrt(images)
    half, center = math.hypot(over, across), differences.mean()
    return stats.Estimate(center, center - half, center + half, images, confidence)


def untruncated(differences, confidence=LEVEL):
    """The planted error: what the mean squares estimate, below the residual's share or not."""
    seeds, images = differences.shape
    squares, dfs = mean_squares(differences), (seeds - 1, images - 1, (seeds - 1) * (images - 1))
    total = squares[0] + squares[1] - squares[2]
    df = total**2 / sum(square**2 / one for square, one in zip(squares, dfs, strict=True))
    half = special.stdtrit(df, (1 + confidence) / 2) * math.sqrt(max(total, 0.0) / (seeds * images))
    return stats.Estimate(0.0, differences.mean() - half, differences.mean() + half, images, confidence)


def pigeonhole(differences):
    """Resamples seeds and images both, 95 % percentile."""
    generator, (seeds, images) = np.random.default_rng(0), differences.shape
    drawn = generator.multinomial(seeds, np.full(seeds, 1 / seeds), 300) / seeds
    counts = generator.multinomial(images, np.full(images, 1 / images), 300) / images
    low, high = np.quantile(np.einsum("rs,si,ri->r", drawn, differences, counts, optimize=True), [0.025, 0.975])
    return stats.Estimate(0.0, low, high, images, 0.95)


def over_images(differences):
    """The normal interval over images alone: 150 of them are many."""
    by_image = differences.mean(axis=0)
    half = special.ndtri(0.975) * by_image.std(ddof=1) / math.sqrt(by_image.size)
    return stats.Estimate(0.0, by_image.mean() - half, by_image.mean() + half, by_image.size, 0.95)


def covers(interval, shape, studies):
    """How often the interval holds 0, the true difference."""
    generator = np.random.default_rng(13)
    return sum(not interval(trained(generator, *shape)).excludes(0.0) for _ in range(studies)) / studies


@pytest.mark.parametrize("shape", ["digits", "no position", "fashion 5"])
def test_it_covers_on_data_shaped_like_the_studies(shape):
    share = covers(over_seeds_and_images, SHAPES[shape], STUDIES[SHAPES[shape][1]])
    assert 0.93 <= share <= 0.975  # the truth lies between 0.95 and 0.97; the rest is the simulation's


def test_it_covers_on_data_shaped_like_three_seeds_of_fashion():
    """Of 3 seeds that add little the interval cannot know that they do: it is that over seeds, and holds more."""
    assert 0.94 <= covers(over_seeds_and_images, FASHION_3, 300) < 0.995


@pytest.mark.parametrize("shape", ["digits", "fashion 3", "fashion 5"])
def test_it_covers_where_neither_seeds_nor_images_matter(shape):
    """Truncation only ever widens, most where the seeds are few and add nothing: it covers more, and never less."""
    seeds, images, share, *_, noise = SHAPES[shape]
    assert covers(over_seeds_and_images, (seeds, images, share, 0.0, 0.0, noise), STUDIES[images]) >= 0.95


@pytest.mark.parametrize("noise", BOTH)
def test_it_covers_at_three_seeds_where_either_matters_much(noise):
    assert 0.93 <= covers(over_seeds_and_images, (3, 150, 0.5, *BOTH[noise], 0.5), 800) <= 0.975


def test_the_level_of_many_comparisons_is_kept_at_three_seeds():
    """Satterthwaite's t alone misses 8 times as often as it may where the seeds are 3 and matter."""

    def simultaneous(differences):
        return over_seeds_and_images(differences, 0.99)

    assert covers(simultaneous, (3, 150, 0.5, 0.25, 0.0, 0.5), 800) >= 0.98


def test_counting_the_noise_twice_covers_too_often():
    """The planted errors must fail where the interval passes."""
    assert covers(twice, DIGITS, 1000) > 0.985
    generator = np.random.default_rng(14)
    widths = [
        (wrong.high - wrong.low) / (right.high - right.low)
        for differences in (trained(generator, *DIGITS) for _ in range(200))
        for wrong, right in [(twice(differences), over_seeds_and_images(differences))]
    ]
    assert 1.2 < np.median(widths) < 1.5


def test_nothing_simpler_covers_seeds_and_images():
    shapes = {name: (3, 150, 0.5, *sds, 0.5) for name, sds in {"seeds": (0.25, 0.1), "images": (0.0, 1.0)}.items()}
    over_seeds = covers(lambda d: stats.mean_interval(d.mean(axis=1).tolist()), shapes["images"], 120)
    assert max(over_seeds, covers(over_images, shapes["seeds"], 120), covers(pigeonhole, shapes["seeds"], 120)) < 0.91


def test_its_variance_and_degrees_of_freedom_are_those_of_the_two_way_table():
    differences = trained(np.random.default_rng(15), 5, 360, 0.65, 0.3, 0.8, 0.5)
    seeds, images, rest = mean_squares(differences)
    assert seeds > rest
    assert images > rest
    total = seeds + images - rest
    df = total**2 / (seeds**2 / 4 + images**2 / 359 + rest**2 / (4 * 359))
    half = scipy_stats.t.ppf(0.995, df) * math.sqrt(total / (5 * 360))
    got = over_seeds_and_images(differences, 0.99)
    alone = stats.mean_interval(differences.mean(axis=1).tolist(), 0.99)
    assert got.high - got.center == pytest.approx(max(half, alone.high - alone.center), rel=1e-9)
    assert (got.center, got.n, got.confidence) == (pytest.approx(differences.mean()), 360, 0.99)


def test_by_hand():
    # Rows: 2, 0, 1 and 3, 3, 0 and 1, 3, 5. Means of rows 1, 2, 3, of columns 2, 2, 2; grand 2. MS_seed = 3 (1 + 0 + 1)
    # / 2 = 3, MS_image = 0, residual sum = (1 + 1 + 0) + (1 + 1 + 4) + (4 + 0 + 4) = 16, MS_resid = 4: 3 + 0 - 4 is
    # below 4, so the variance is 4 / 9 with 4 degrees of freedom: t = 2.776445, half width 1.850963. Seeds alone: sd 1,
    # t(2) = 4.302653, half width 2.484138, which is wider and stands.
    table = np.array([[2.0, 0.0, 1.0], [3.0, 3.0, 0.0], [1.0, 3.0, 5.0]])
    assert over_seeds_and_images(table).high == pytest.approx(2 + 2.484138, abs=1e-5)
    # Four seeds of which the means are nearly the same: the residual's share stands.
    flat = np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [1.0, -1.0, 0.0], [-1.0, 1.0, 0.03]])
    seeds, images, rest = mean_squares(flat)
    assert seeds + images - rest < 0 < rest, "a negative estimate"
    got = over_seeds_and_images(flat)
    assert got.high - got.center == pytest.approx(scipy_stats.t.ppf(0.975, 6) * math.sqrt(rest / 12), rel=1e-9)


def test_an_estimate_below_the_residuals_share_is_too_small_and_truncated():
    generator, missed = np.random.default_rng(16), {"planted": 0, "interval": 0}
    low = 0
    for _ in range(1000):
        differences = trained(generator, *DIGITS)
        seeds, _, rest = mean_squares(differences)
        if seeds < 0.5 * rest:
            low += 1
            missed["planted"] += untruncated(differences).excludes(0.0)
            missed["interval"] += over_seeds_and_images(differences).excludes(0.0)
    assert low > 80
    assert missed["planted"] / low > 0.08, "where seeds agree by chance the estimate misses far more than 5 %"
    assert missed["interval"] / low < 0.07


def test_it_is_never_narrower_than_the_interval_over_seeds():
    generator = np.random.default_rng(17)
    for seeds, confidence in ((3, 0.95), (3, 0.998), (5, 0.99), (8, 0.95)):
        for _ in range(50):
            differences = trained(generator, seeds, 120, 0.8, 0.1, 0.3, 0.5)
            both = over_seeds_and_images(differences, confidence)
            alone = stats.mean_interval(differences.mean(axis=1).tolist(), confidence)
            assert alone.low is None or both.low <= alone.low + 1e-12 < both.center < alone.high - 1e-12 <= both.high
    assert over_seeds_and_images(trained(generator, 2, 120, 0.8, 0.1, 0.3, 0.5)).low is None
    assert over_seeds_and_images(np.ones((5, 40))).low is None
