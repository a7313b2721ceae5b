"""The values of a metric by seed: at one resolution, of one part, the newest, over layers."""

from tests.support import rows as made

OLD, NEW = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"


def setting_of(tmp_path, rows):
    return made.take(tmp_path, [*made.accuracy(["sa"], range(3), [8]), *rows]).settings[0]


def row(metric, value, **columns):
    return made.row("psa", metric, value, **({"seed": 0, "test_px": 8} | columns))


def test_the_training_resolution_is_meant_where_none_is_named(tmp_path):
    setting = setting_of(tmp_path, [row("top1", 80.0), row("top1", 60.0, test_px=12), row("top1", 81.0, seed=1,
                                                                                        test_px=None)])  # fmt: skip
    assert setting.by_seed("top1", "psa") == {"0": 80.0, "1": 81.0}
    assert setting.by_seed("top1", "psa", "12") == {"0": 60.0}
    assert setting.by_seed("top1", "psa", "10") == setting.by_seed("top1", "nobody") == {}


def test_the_newest_counts_and_failures_do_not(tmp_path):
    later = row("top1", 90.0, epoch=31, when=NEW)
    rows = [later, row("top1", 80.0, epoch=30, when=OLD), row("top1", None, seed=1, note="the loss became NaN")]
    setting = setting_of(tmp_path, rows)
    assert setting.by_seed("top1", "psa") == {"0": 90.0}
    assert setting.by_seed("top1", "psa", epoch="30") == {"0": 80.0}


def test_seeds_are_in_order_and_layers_are_averaged(tmp_path):
    rows = [row("attention_distance", value, seed=seed, layer=layer, cell=f"psa-{seed}")
            for seed in (10, 2) for layer, value in ((1, 0.25), (2, 0.75 + seed))]  # fmt: skip
    found = setting_of(tmp_path, rows).by_seed("attention_distance", "psa")
    assert list(found.items()) == [("2", 1.5), ("10", 5.5)]


def test_parts_are_not_mixed(tmp_path):
    each = [{"corruption": "noise", "severity": severity} for severity in (1, 2)]
    rows = [row("corrupted_top1", 70.0 - 10 * at, params=params) for at, params in enumerate(each)]
    setting = setting_of(tmp_path, rows)
    parts = setting.named("corrupted_top1")["part"].tolist()
    assert [setting.by_seed("corrupted_top1", "psa", part=part) for part in parts] == [{"0": 70.0}, {"0": 60.0}]
