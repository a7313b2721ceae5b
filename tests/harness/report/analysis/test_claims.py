"""The paper's findings judged by rows with known answers, and the README's part of a study."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.report import __main__ as program
from harness.report import render
from harness.report.analysis import leading
from harness.report.analysis.claims import CONTRADICTED, OPEN, REPRODUCED, SAME, SUGGESTED, SUGGESTED_NOT, claims
from harness.report.analysis.summary import summaries
from harness.report.export import readme
from harness.report.study.study import study as take_apart
from harness.results import store
from harness.results.stats import detectable, median_interval
from tests.support import rows as made
from tests.support.page import sketched

ROOT = Path(__file__).parents[4]
LATE, INPUT = "a" * 16, "b" * 16


def top1(variant, values, **columns):
    cell = {"epoch": 30, "test_px": 8, "unit": "%", "n": 360}
    return [made.row(variant, "top1", value, seed=seed, **cell, **columns) for seed, value in enumerate(values)]


def judge(study):
    found = {setting.key: summaries(setting) for setting in study.settings}
    return {one.words: one for part in claims(study.settings, found) for one in part.tested}


SA = [90.0, 91.0, 92.5, 90.5]
JITTER = np.array([0.1, -0.1, 0.05, -0.05])


def planted(gain, spread=1.0):
    return list(np.array(SA) + gain + spread * JITTER)


def test_verdicts_follow_the_interval(tmp_path):
    rows = (
        top1("sa", SA) + top1("sp_sa", planted(1.0)) + top1("psa", planted(3.0, 2)) + top1("rpe_1d", planted(1.0, 40))
    )
    found = judge(made.take(tmp_path, rows))
    verdicts = {words.removeprefix("SP-SA is more accurate than "): one.verdict for words, one in found.items()}
    assert verdicts == {
        "plain attention": REPRODUCED, "1-D relative position embeddings": OPEN, "PSA": SUGGESTED_NOT,
    }  # fmt: skip


@pytest.mark.parametrize(("gain", "verdict"), [(1.0, REPRODUCED), (-1.0, CONTRADICTED), (0.0, SAME)])
def test_a_primary_contrast_has_the_verdict_of_its_page(tmp_path, gain, verdict):
    rows = top1("sa", SA) + top1("sp_sa", planted(gain)) + top1("psa", planted(0.0, 40))
    study = made.take(tmp_path / "study", rows)
    one = judge(study)["SP-SA is more accurate than plain attention"]
    assert one.verdict == verdict
    assert one.difference == next(s for s in summaries(study.settings[0]) if s.variant == "sp_sa").difference
    recipes = {made.HASH: made.RECIPE | {"primary": ["psa"]}}
    words = judge(made.take(tmp_path / "other", rows, recipes))["SP-SA is more accurate than plain attention"].verdict
    assert words == {REPRODUCED: SUGGESTED, CONTRADICTED: SUGGESTED_NOT, SAME: OPEN}[verdict], "no more than suggested"


def wrong(one, differences, compared):
    """Whether a finding's interval is not the t interval of the differences at Bonferroni's level."""
    sem = np.std(differences, ddof=1) / len(differences) ** 0.5
    low, high = scipy_stats.t.interval(1 - 0.05 / compared, len(differences) - 1, np.mean(differences), sem)
    return not (one.low == pytest.approx(low) and one.high == pytest.approx(high))


def test_intervals_are_paired_and_hold_for_all_findings_at_once(tmp_path):
    sp_sa, psa = planted(1.0, 3), planted(0.5, 2)
    found = judge(made.take(tmp_path, top1("sa", SA) + top1("sp_sa", sp_sa) + top1("psa", psa)))
    one = found["SP-SA is more accurate than PSA"].difference.estimate
    differences = np.array(sp_sa) - psa
    assert not wrong(one, differences, compared=1), "of the two findings the other is a primary contrast"
    error, limit = np.std(differences, ddof=1) / 2, scipy_stats.t.ppf(0.975, 3)
    told = float(found["SP-SA is more accurate than PSA"].seen)
    assert scipy_stats.nct.sf(limit, 3, told / error) == pytest.approx(0.8, abs=0.02), "two digits of it"
    assert wrong(one, np.array(sp_sa) - psa[::-1], compared=1), "the mutant: not paired"


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"),
    [(0.0, 1, SUGGESTED), (2.0, 1, SUGGESTED_NOT), (0.0, 40, OPEN), (-3.0, 1, SUGGESTED)],
)
def test_that_a_width_gains_nothing_is_a_claim_of_its_own(tmp_path, gain, spread, verdict):
    rows = top1("sa", SA) + top1("sp_sa", planted(0.0)) + top1("sp_sa[hidden=64]", planted(gain, 1 + spread))
    found = judge(made.take(tmp_path, rows))
    assert found["a hidden width of 64 gains nothing over 32 (less than 0.4 points)"].verdict == verdict


@pytest.mark.parametrize(
    ("gain", "linear", "wide"),
    [(1.0, REPRODUCED, CONTRADICTED), (-1.0, CONTRADICTED, REPRODUCED), (0.0, SAME, REPRODUCED)],
)
def test_of_two_arms_either_may_be_the_baseline(tmp_path, gain, linear, wide):
    """With sp_sa as the baseline its ablations are primary contrasts; `gain` is sp_sa's over the linear map."""
    named = {"primary": ["sp_sa[form=linear]", "sp_sa[hidden=64]"]}
    recipes = {made.HASH: made.RECIPE | {"baseline": "sp_sa"} | named}
    rows = top1("sp_sa", SA) + top1("sp_sa[form=linear]", planted(-gain)) + top1("sp_sa[hidden=64]", planted(gain, 2))
    study = made.take(tmp_path, rows + top1("sp_sa[hidden=16]", planted(-gain, 3)), recipes)
    found = judge(study)
    one = found["an MLP of the offset is more accurate than a linear map"]
    of_page = next(s for s in summaries(study.settings[0]) if s.variant == "sp_sa[form=linear]").difference.estimate
    ends = one.difference.estimate
    assert (ends.center, ends.low, ends.high) == pytest.approx((-of_page.center, -of_page.high, -of_page.low))
    assert one.verdict == linear
    assert found["a hidden width of 64 gains nothing over 32 (less than 0.4 points)"].verdict == wide
    words = found["a hidden width of 32 is more accurate than one of 16"].verdict
    assert words == {REPRODUCED: SUGGESTED, CONTRADICTED: SUGGESTED_NOT, SAME: OPEN}[linear], "not a primary contrast"
    recipes[made.HASH] = made.RECIPE | {"baseline": "sp_sa"}
    (setting,) = made.take(tmp_path / "unnamed", rows, recipes).settings
    assert setting.primary == ["sp_sa[form=linear]", "sp_sa[hidden=64]"], "those of its own are no ablations"


@pytest.mark.parametrize(
    ("gain", "spread", "on_page", "verdict"),
    [
        (0.33, 0.2, "better", REPRODUCED),
        (0.2, 1, "equal", REPRODUCED),
        (0.4, 1, "better", OPEN),
        (0.0, 40, "undetermined", OPEN),
    ],
)
def test_a_bound_is_read_from_the_interval_of_a_primary_contrast(tmp_path, gain, spread, on_page, verdict):
    """0.33 points more is a gain, and less than 0.4; whether 0.4 is less than 0.4 stays open."""
    recipes = {made.HASH: made.RECIPE | {"baseline": "sp_sa", "primary": ["sp_sa[hidden=64]"]}}
    rows = top1("sp_sa", SA) + top1("sp_sa[hidden=64]", planted(gain, spread)) + top1("sp_sa[hidden=16]", planted(1.0))
    study = made.take(tmp_path, rows, recipes)
    one = judge(study)["a hidden width of 64 gains nothing over 32 (less than 0.4 points)"]
    of_page = next(s for s in summaries(study.settings[0]) if s.primary).difference
    assert one.verdict == verdict
    assert one.difference == of_page
    assert of_page.verdict == on_page


def two_recipes(late, early):
    """Rows of sa and sp_sa with the class token late and from the input on."""
    rows = top1("sa", SA, recipe_hash=LATE) + top1("sp_sa", late, recipe_hash=LATE)
    rows += top1("sa", SA, recipe_hash=INPUT) + top1("sp_sa", early, recipe_hash=INPUT)
    rows += top1("psa", planted(1.0, 2), recipe_hash=LATE)
    return rows, {LATE: made.RECIPE, INPUT: made.RECIPE | {"class_token": "input"}}


def test_recipes_are_compared_where_one_entry_differs(tmp_path):
    words = "a class token that joins late is more accurate than one from the input on"
    rows, recipes = two_recipes(planted(2.0, 2), planted(1.0))
    assert judge(made.take(tmp_path, rows, recipes))[words].verdict == SUGGESTED
    rows, recipes = two_recipes(planted(1.0), planted(2.0, 2))
    assert judge(made.take(tmp_path / "other", rows, recipes))[words].verdict == SUGGESTED_NOT
    recipes[INPUT] = recipes[INPUT] | {"lr": 0.5}
    assert words not in judge(made.take(tmp_path / "two", rows, recipes)), "two entries differ, so neither is tested"


def test_a_finding_that_several_recipes_test_is_said_of_each(tmp_path):
    """In one it is so, in the other the contrary: neither stands for both."""
    rows, recipes = two_recipes(planted(2.0, 3), planted(-2.0, 2))
    study = made.take(tmp_path, rows, recipes)
    (part,) = claims(study.settings, {setting.key: summaries(setting) for setting in study.settings})
    said = {one.arms: one.difference.estimate.center for one in part.tested if one.arms.startswith("sp_sa minus sa")}
    assert set(said) == {"sp_sa minus sa, class token late", "sp_sa minus sa, class token input"}
    assert said["sp_sa minus sa, class token late"] > 1.5
    assert said["sp_sa minus sa, class token input"] < -1.5
    alone = [one.arms for one in part.tested if "psa" in one.arms.split()]
    assert alone == ["sp_sa minus psa"], "one recipe alone has psa, so none needs a name"


def test_fine_tuning_is_a_difference_of_gains(tmp_path):
    rows = top1("sa", SA) + top1("sp_sa", planted(1.0)) + top1("psa", planted(0.5))
    for variant, gain in (("sa", 2.0), ("sp_sa", 4.5)):
        base = SA if variant == "sa" else planted(1.0)
        for seed, value in enumerate(base):
            more = 0.05 * seed if variant == "sp_sa" else 0.0
            cell = {"seed": seed, "epoch": 5, "test_px": 12, "unit": "%", "n": 360}
            rows.append(made.row(variant, "finetuned_top1", value - gain + more, **cell))
    found = judge(made.take(tmp_path, rows, {made.HASH: made.RECIPE | {"finetune_epochs": 5}}))
    one = found["fine-tuning at 12 px gains more than it does for plain attention"]
    assert one.difference.estimate.center == pytest.approx(-2.5 + 0.075)
    assert one.verdict == SUGGESTED_NOT


def test_two_seeds_test_nothing(tmp_path):
    rows = top1("sa", SA[:2]) + top1("sp_sa", planted(1.0)[:2]) + top1("psa", planted(2.0)[:2])
    assert judge(made.take(tmp_path, rows)) == {}


# ---- the README's part


@pytest.fixture
def folder(tmp_path):
    rows, recipes = two_recipes(planted(2.0, 2), planted(1.0))
    where = made.save(tmp_path / "study", rows + made.cost(["sa", "sp_sa", "psa"]))
    for name, recipe in recipes.items():
        store.write_recipe(where, name, recipe)
    return where


def test_the_part_is_written_between_its_marks_and_nowhere_else(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("before\n<!-- study: study -->\nstale part\n<!-- end of study -->\nafter\n")
    arguments = [str(folder), "--report", "page.html", "--readme", "README.md", "--figures", "figures"]
    assert program.main(arguments) == 0
    text = Path("README.md").read_text()
    assert text.startswith("before\n<!-- study: study -->\nCan this setting rank biases?\n\n- ")
    assert re.search(r": (no|not known), its [^|]*\n\n\| Variant \|", text)
    assert text.endswith("\n<!-- end of study -->\nafter\n")
    assert "stale part" not in text
    assert "| Variant | Parameters, K | " in text
    assert re.search(r"\| `sp_sa` \| 214\.40? \|", text)
    for file in re.findall(r"\]\(([^)]+)\)", text):
        drawn = Path(file).read_text()
        assert drawn.startswith("<svg")
        assert "prefers-color-scheme: dark" in drawn
    assert program.main(arguments) == 0
    assert Path("README.md").read_text() == text, "written again it is the same"


def several_recipes():
    """Rows of five, four and three variants in recipes that differ in one entry from the first, and these."""
    names = ["sp_sa", "psa", "gpsa", "rel_bias", "rpe_1d"]
    rows = top1("sa", SA, recipe_hash=LATE)
    for gain, name in enumerate(names):
        rows += top1(name, planted(float(gain), 2), recipe_hash=LATE)
    for recipe_hash, few in ((INPUT, names[:4]), ("c" * 16, names[:3])):
        rows += top1("sa", SA, recipe_hash=recipe_hash)
        for gain, name in enumerate(few):
            rows += top1(name, planted(10.0 + gain, 2), recipe_hash=recipe_hash)
    recipes = {LATE: made.RECIPE, INPUT: made.RECIPE | {"pos_embed": "none"}, "c" * 16: made.RECIPE | {"lr": 0.5}}
    return rows, recipes


def columns(study):
    found = {setting.key: summaries(setting) for setting in study.settings}
    return leading.chosen(study, found), found


def test_a_recipe_that_compares_many_has_a_column_called_by_what_differs(tmp_path):
    study = made.take(tmp_path, *several_recipes())
    shown, _ = columns(study)
    assert [column.words for column in shown] == ["digits", "digits, position embedding none"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme.table(study, shown).splitlines()]
    assert [line[0] for line in lines[2:]] == ["`sa`", "`rpe_1d`", "`rel_bias`", "`gpsa`", "`psa`", "`sp_sa`"]
    differences = {line[0]: line[4].split()[0] for line in lines[2:]}
    assert differences["`rel_bias`"] == "**+13.00**"
    assert differences["`rpe_1d`"] == "—"


def test_the_table_keeps_what_is_decided_and_says_how_many_it_leaves_out(tmp_path):
    names = [f"psa[scope={name}]" for name in "abcdefghijkl"]  # so that no two are ablations of a third
    study = made.take(tmp_path, top1("sa", SA) + [
        row for place, name in enumerate(["sp_sa", *names]) for row in top1(name, planted(3.0 - 0.25 * place))
    ])  # fmt: skip
    shown, _ = columns(study)
    rows = leading.listed(shown)
    assert len(rows) == 11
    decided = {v for v, s in shown[0].found.items() if s.difference and s.difference.resolved}
    assert "sp_sa" in decided <= set(rows)
    assert rows == sorted(rows, key=lambda v: -shown[0].found[v].difference.estimate.center)
    assert "2 more variants of this setting are on the page." in readme.caption(study, shown)


def test_a_column_whose_recipe_is_lost_says_so(tmp_path):
    rows, recipes = several_recipes()
    del recipes[INPUT]
    shown, _ = columns(made.take(tmp_path, rows, recipes))
    assert len({column.words for column in shown}) == 2
    assert any("its file is missing" in column.words for column in shown)


def test_a_variant_of_other_seeds_is_listed_without_a_difference(tmp_path):
    rows = top1("sa", SA) + top1("sp_sa", planted(1.0))
    rows += [one | {"seed": one["seed"] + 10} for one in top1("psa", planted(2.0))]
    study = made.take(tmp_path, rows)
    shown, _ = columns(study)
    assert leading.listed(shown) == ["sp_sa", "psa"]
    assert next(line for line in readme.table(study, shown).splitlines() if "`psa`" in line).endswith("| — |")


def test_sizes_and_resolutions_of_one_dataset_are_told_apart(tmp_path):
    rows = top1("sa", SA) + top1("sp_sa", planted(1.0))
    rows += [one | {"size": "tiny", "recipe_hash": INPUT} for one in rows]
    rows += [one | {"train_px": 16, "test_px": 16, "recipe_hash": "c" * 16} for one in rows[:8]]
    shown, _ = columns(made.take(tmp_path, rows))
    assert {column.words for column in shown} == {"digits, micro, 8 px", "digits, tiny, 8 px", "digits, micro, 16 px"}


def test_a_file_without_marks_is_refused(folder, tmp_path, capsys):
    file = tmp_path / "README.md"
    file.write_text("nothing\n")
    assert program.main([str(folder), "--report", str(tmp_path / "p.html"), "--readme", str(file)]) == 2
    assert "has no lines '<!-- study: study -->'" in capsys.readouterr().err
    assert file.read_text() == "nothing\n"


# ---- the committed study

STUDY, OTHER = "fashion-cluttered", "translated"  # the one of README's table, and the one beside it


@cache
def loaded(name):
    """The rows of a committed study; no test changes them."""
    return store.load(ROOT / "results" / name)


@cache
def committed(name):
    folder = ROOT / "results" / name
    return take_apart(loaded(name), store.recipes(folder), store.correct(folder))


@pytest.fixture(scope="module")
def part():
    return readme.part(committed(STUDY), STUDY, "reports/figures")


def test_the_readme_has_the_numbers_of_the_rows(part):
    text = (ROOT / "README.md").read_text()
    assert f"<!-- study: {STUDY} -->\n{part.text}\n<!-- end of study -->" in text


def test_the_readme_figures_are_those_of_the_rows(part):
    for name, drawn in part.figures.items():
        assert numbers((ROOT / "reports/figures" / name).read_text()) == numbers(drawn)


def numbers(svg):
    """What is drawn, without coordinates, whose last digits are a font's and a version's."""
    return re.findall(r"<text[^>]*>([^<]*)", svg)


ROUND = {"1.01", "2.2"}  # a bound, and how often one number is in another: tested below
NUMBER = re.compile(r"[+\u2212]?\d+\.\d+")


def told(text):
    """The decimal numbers of README's prose on the study."""
    prose = text.partition("## What we found")[2].partition("<!-- study")[0]
    prose += text.partition("<!-- end of study -->")[2].partition("## Start")[0]
    return NUMBER.findall(prose)


def test_what_the_readme_says_it_found_is_in_the_rows(part):
    text = (ROOT / "README.md").read_text()
    costs = set(re.findall("\N{MULTIPLICATION SIGN}" + r"([\d.]+)<", (ROOT / "reports/costs.html").read_text()))
    masked = (ROOT / "reports/priors.html").read_text().partition("Binarised priors: ")[2]
    masked = re.sub(r"<(svg|script|a).*?</\1>", "", masked, flags=re.DOTALL).partition("Failed and refused")[0]
    times = loaded("speed")
    timed = {f"{value:.3f}" for value in times[times["metric"].str.endswith("ratio")]["value"]}
    timed |= {f"{end:.3f}" for end in (noise(times).low, noise(times).high)}
    known = set(NUMBER.findall(part.text)) | costs | set(NUMBER.findall(masked)) | timed | ROUND
    known |= set(NUMBER.findall(readme.part(committed(OTHER), OTHER, "reports/figures").text))
    for name in (STUDY, OTHER, "low-data", "ablations"):
        page = (ROOT / f"reports/{name}.html").read_text().partition('id="power"')[2]
        known |= set(NUMBER.findall(page.partition("Cost and accuracy")[0]))
    assert told(text), "the prose has numbers"
    assert [number for number in told(text) if number not in known] == []
    mutant = text.replace("<!-- end of study -->", "<!-- end of study -->\nSP-SA gains +77.77 points.")
    assert [number for number in told(mutant) if number not in known] == ["+77.77"]


def noise(times):
    """Plain attention against itself, inference at 384 px: the interval of the median over rounds."""
    (samples,) = times[(times["metric"] == "aa_ratio") & (times["test_px"] == 384)]["samples"]
    return median_interval(samples)


WORDS = {
    OTHER: {"better": "more accurate there", "worse": "less accurate there", "undetermined": "undetermined there"},
}


def test_what_the_readme_says_in_words_is_in_the_rows():
    """Who is better, who is worse, who is neither; who costs more."""
    better = {}
    for name in (STUDY, OTHER):
        decided = [s for s in summaries(committed(name).settings[0]) if s.decided]
        better[name] = {s.variant for s in decided if s.difference.estimate.center > 0}
    assert "Nine of eleven do so among clutter, five of these on another task, too." in sentences()
    assert (len(better[STUDY]), len(better[STUDY] & better[OTHER])) == (9, 5)
    for name, said in WORDS.items():
        (setting,) = [one for one in committed(name).settings if one.primary and "none" not in one.key.recipe]
        verdicts = {s.variant: s.difference.verdict for s in summaries(setting) if s.primary and not s.is_baseline}
        assert len(verdicts) == 11
        for verdict, words in said.items():
            named = re.search(rf"\*\*{words}\*\*: ([^.]*)\.", sentences())
            found = set(re.findall(r"`(\w+)`", named[1])) if named else set()
            assert found == {variant for variant, one in verdicts.items() if one == verdict}
    (setting,) = committed("ablations").settings
    found = claims([setting], {setting.key: summaries(setting)})[0].tested
    assert "decide two of eleven findings of its paper" in sentences()
    decided = {one.verdict for one in found if one.verdict in (REPRODUCED, CONTRADICTED)}
    assert (len(found), sum(one.verdict in decided for one in found), len(decided)) == (11, 2, 2)
    gains = {one.arms: one.difference.estimate.center for one in found if one.verdict in decided}
    assert f"each layer (+{gains['sp_sa minus sp_sa[scope=layer]']:.2f})" in sentences()
    assert f"`psa` beats `sp_sa` (+{-gains['sp_sa minus psa']:.2f})" in sentences()
    (setting,) = [one for one in committed(STUDY).settings if one.primary and "none" not in one.key.recipe]
    least = {s.variant: detectable(s.difference) for s in summaries(setting) if s.primary}
    ratios = {v: one / np.median([*least.values()]) for v, one in least.items()}
    wide = {v: ratio for v, ratio in ratios.items() if ratio > 1.5}
    assert wide.keys() == {"lookhere", "cswin", "sp_sa", "psa"}
    assert f"up to {max(wide.values()):.1f} times that" in sentences()
    times = loaded("speed")
    again = noise(times)
    assert f"(`sa` against itself: {again.low:.3f} to {again.high:.3f})" in sentences()
    slow = times[(times["metric"] == "ratio") & (times["test_px"] == 384)].set_index("variant")["value"]
    table = slow.drop(["swin", "cswin", "rpe_1d", "rpe_2d", "irpe", "decomposed", "no_content", "uniform", "cosine"])
    table = table.drop(["rope_axial", "rope_mixed", "lepe"])
    assert (f"{table.min():.3f}", f"{table.max():.3f}") == ("1.056", "1.180")
    shaw = slow[["rpe_1d", "rpe_2d", "irpe"]]
    assert (f"{slow['decomposed']:.3f}", f"{shaw.min():.3f}", f"{shaw.max():.3f}") == ("1.258", "1.486", "1.525")
    rows = loaded("costs")
    rows = rows[(rows["size"] == "small") & (rows["metric"] == "gmac") & rows["params"].isna()]
    by_px = rows.pivot_table(index="variant", columns="train_px", values="value", aggfunc="last")
    over = by_px / by_px.loc["sa"]
    assert set(over.index[(over >= 1.01).any(axis=1)]) == {"rpe_1d", "rpe_2d", "irpe"}
    assert over.loc["rpe_1d", 224] == pytest.approx(1.032, abs=5e-4)
    assert over.loc["irpe", 512] == pytest.approx(1.127, abs=5e-4)


LINKED = re.findall(r"\(reports/([\w-]+)\.html\)", (ROOT / "README.md").read_text())
STUDIES = sorted({*LINKED} - {"costs", "index"})  # the pages that README links to, but for those of no study
assert {STUDY, OTHER, "speed"} <= set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_committed_report_is_that_of_the_rows(tmp_path, name):
    """But for coordinates: the words and numbers of every table."""
    with sketched():
        render(ROOT / "results" / name, tmp_path / "page.html")
    one, other = ((file).read_text() for file in (tmp_path / "page.html", ROOT / "reports" / f"{name}.html"))
    cells = re.compile(r"<t[dh][^>]*>(.*?)</t[dh]>", re.DOTALL)
    assert cells.findall(one) == cells.findall(other)


@pytest.mark.parametrize("name", STUDIES)
def test_every_row_says_where_it_comes_from(name):
    frame = loaded(name)
    assert frame.attrs["damaged"] == []
    for column in ("code", "source_hash", "recipe_hash", "machine", "versions", "when"):
        assert frame[column].notna().all()
    assert not frame["code"].str.contains("dirty").any()
    assert frame.groupby(["kind", "variant", "dataset"], dropna=False)["source_hash"].nunique().max() == 1
    assert set(frame["recipe_hash"]) <= set(store.recipes(ROOT / "results" / name))


def sentences():
    """README's prose, in one line."""
    return re.sub(r"\s+", " ", (ROOT / "README.md").read_text())


def test_the_guides_say_that_convit_has_a_constant_less():
    """tests/variants/published/test_families.py counts it."""
    for guide in ("harness/README.md", "tests/README.md"):
        text = re.sub(r"\s+", " ", (ROOT / guide).read_text())
        assert "one constant a gated head less, which the softmax ignores" in text
        assert not re.search(r"`convit_\w+`[^.]* to the unit", text)
