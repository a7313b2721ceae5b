"""Regressions: planted ones are caught and named, noise and other machines are not taken for one, bad files said."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from harness.measure.timing.interleave import interleave
from harness.regress import main, read, shift, slim
from tests.support.programs import spent

ROOT = Path(__file__).parents[2]
CPU = {"brand_raw": "Reckoner 9", "family": 6, "model": 1}


def benchmark(variant, ratios, condition="14x14-B16-training", **other):
    """One of pytest-benchmark's records, as tests/benchmarks leaves it."""
    info = {
        "variant": variant, "baseline": "sa", "condition": condition, "again": variant == "sa again", "short": True,
        "dtype": "float32", "backend": "tiled", "ratios": ratios, "busy": 0.02,
        "counters": {"gmac": 0.25, "params": 591, "graph_breaks": 0, "saved_bytes": 4096},
    } | other  # fmt: skip
    return {"name": f"test_layer[{condition}-{variant}]", "extra_info": info, "stats": {"median": 0.01}}


def noisy(center, seed, spread=0.03, rounds=21):
    draw = random.Random(seed)
    return [center * 2.718281828 ** draw.gauss(0, spread) for _ in range(rounds)]


def content(*benchmarks, cpu=CPU, **machine):
    return {"machine_info": {"cpu": cpu, "cores": 2, "threads": 2, "torch": "2.15.0"} | machine,
            "benchmarks": list(benchmarks)}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Writes the two recordings; returns the arguments of the program."""

    def write(base, new):
        for name, one in (("base", base), ("new", new)):
            (tmp_path / f"{name}.json").write_text(json.dumps(one))
        return [str(tmp_path / "base.json"), str(tmp_path / "new.json")]

    return write


def recorded(center=1.1, seed=0, **other):
    return content(benchmark("sa again", noisy(1, seed)), benchmark("sp_sa", noisy(center, seed + 1), **other))


def test_the_same_again_passes(files, capsys):
    assert main(files(recorded(), recorded(seed=7))) == 0
    assert "not resolved" in capsys.readouterr().out


def test_a_slowdown_of_30_percent_is_caught_and_named(files, capsys):
    assert main(files(recorded(), recorded(1.1 * 1.3, seed=7))) == 1
    out = capsys.readouterr().out
    assert "test_layer[14x14-B16-training-sp_sa] is slower: 1.1" in out
    assert "1 got worse" in out


def test_a_smaller_slowdown_is_caught_where_the_noise_is_small(files):
    assert main(files(recorded(), recorded(1.1 * 1.07, seed=7))) == 1  # the rounds differ by 3 %


def test_a_slowdown_below_the_noise_is_not_resolved_and_a_speedup_is_no_failure(files, capsys):
    assert main(files(recorded(), recorded(1.1 * 1.015, seed=7))) == 0
    assert "not resolved" in capsys.readouterr().out
    assert main(files(recorded(), recorded(1.1 / 1.3, seed=7))) == 0
    assert "faster" in capsys.readouterr().out


def test_the_floor_of_the_second_copy_widens_the_bound(files):
    apart = content(benchmark("sa again", noisy(1.5, 1)), benchmark("sp_sa", noisy(1.1, 2)))
    assert main(files(apart, recorded(1.1 * 1.3, seed=7))) == 0


def test_a_condition_without_a_second_copy_has_the_largest_floor_of_all(files, capsys):
    def at(center, seed):
        return content(benchmark("sa again", noisy(1.2, seed)), benchmark("sp_sa", noisy(center, seed), "7x7"))

    assert main(files(at(1, 1), at(1.15, 9))) == 0
    assert "7x7, A/A floor 2" in capsys.readouterr().out
    assert main(files(at(1, 1), at(1.6, 9))) == 1


def test_chance_alone_is_rarely_a_regression():
    """Of 100 comparisons of 20 ratios each, 1 in 20 may hold one that is called slower, even with no floor."""
    wrong = 0
    for trial in range(100):
        pairs = [(noisy(1, 40 * trial + i, rounds=11), noisy(1, 40 * trial + 20 + i, rounds=11)) for i in range(20)]
        wrong += any(change > bound for change, bound in (shift(a, b, 20) for a, b in pairs))
    assert wrong <= 5


@pytest.mark.parametrize(
    ("counters", "says"),
    [
        ({"gmac": 0.26, "params": 591, "graph_breaks": 0, "saved_bytes": 4096}, "gmac 0.25 -> 0.26"),
        ({"gmac": 0.25, "params": 590, "graph_breaks": 0, "saved_bytes": 4096}, "params 591 -> 590"),
        ({"gmac": 0.25, "params": 591, "graph_breaks": 1, "saved_bytes": 4096}, "graph_breaks 0 -> 1"),
        ({"gmac": 0.25, "params": 591, "graph_breaks": 0, "saved_bytes": 4100}, "saved_bytes 4096 -> 4100"),
        ({"gmac": 0.25, "params": 591, "graph_breaks": 0}, "saved_bytes 4096 -> None"),
    ],
)
def test_a_changed_counter_fails_for_better_or_worse(files, capsys, counters, says):
    assert main(files(recorded(), recorded(counters=counters))) == 1
    assert f"test_layer[14x14-B16-training-sp_sa]: {says}." in capsys.readouterr().out


def test_another_machine_is_compared_by_counters_alone(files, capsys):
    elsewhere = recorded(2.2, seed=7) | {"machine_info": content(cpu=CPU | {"model": 2})["machine_info"]}
    assert main(files(recorded(), elsewhere)) == 0
    assert "The machines differ (model 1 against 2), so the ratios are printed" in capsys.readouterr().out
    changed = recorded(counters={"params": 1}) | {"machine_info": content(threads=1)["machine_info"]}
    assert main(files(recorded(), changed)) == 1
    assert "threads 2 against 1" in capsys.readouterr().out


@pytest.mark.parametrize("times", [0, 1])
def test_what_was_timed_on_a_busy_machine_is_not_resolved(files, capsys, times):
    busy, quiet = {"busy": 0.4}, {}
    arguments = files(recorded(**(quiet if times else busy)), recorded(2.2, seed=7, **(busy if times else quiet)))
    assert main(arguments) == 0
    assert "not resolved, others had 40% of the cores" in capsys.readouterr().out


def test_what_is_missing_fails_and_what_is_new_is_said(files, capsys):
    both, one = recorded(), recorded(seed=7)
    del one["benchmarks"][1]
    assert main(files(both, one)) == 1
    assert "test_layer[14x14-B16-training-sp_sa] is missing from" in capsys.readouterr().out
    assert main(files(one, both)) == 0
    assert "test_layer[14x14-B16-training-sp_sa] is new." in capsys.readouterr().out


def test_the_short_form_asks_for_its_own_benchmarks_alone(files, capsys):
    long = recorded()
    long["benchmarks"].append(benchmark("psa", noisy(1, 3), "32x32-B2-training", short=False))
    assert main(files(long, recorded(seed=7))) == 1
    assert main([*files(long, recorded(seed=7)), "--short"]) == 0
    assert main([*files(recorded(short=False), recorded(1.5, seed=7)), "--short"]) == 0  # sp_sa is not of the form
    long["benchmarks"] = long["benchmarks"][2:]
    capsys.readouterr()
    assert main([*files(long, recorded()), "--short"]) == 2
    assert "no benchmark of the short form" in capsys.readouterr().err


def test_another_dtype_fails_and_another_backend_and_torch_are_said(files, capsys):
    assert main(files(recorded(), recorded(dtype="bfloat16"))) == 1
    assert "is in bfloat16, before in float32" in capsys.readouterr().out
    other = recorded(backend="eager") | {"machine_info": content(torch="2.16.0")["machine_info"]}
    assert main(files(recorded(), other)) == 0
    out = capsys.readouterr().out
    assert "now takes the backend eager, before tiled" in out
    assert "torch is 2.16.0, before 2.15.0" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged or not JSON"),
        ("[" * 100000, "is damaged or not JSON"),
        ("\udc80", "is damaged or not JSON"),
        ("[]", "is not a recording of tests/benchmarks"),
        ("{}", "is not a recording of tests/benchmarks"),
        (json.dumps({"machine_info": {"cpu": {}}, "benchmarks": [{"name": "other"}]}), "is not a recording"),
        (json.dumps(content(benchmark("sp_sa", []))), "is not a recording"),
        (json.dumps(content(benchmark("sp_sa", [1, -1]))), "is not a recording"),
        (json.dumps(content(benchmark("sp_sa", [1, 1], counters={"params": "x"}))), "is not a recording"),
        (json.dumps(content()), "holds no benchmark"),
        (json.dumps(content(benchmark("sp_sa", [1, 1]))), "has no second copy of the baseline"),
        (json.dumps(content(benchmark("sa again", [1, 1]))), "has no second copy of the baseline"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_a_bad_file_is_one_sentence(files, capsys, place, text, says):
    arguments = files(recorded(), recorded())
    Path(arguments[place]).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert says in err
    assert arguments[place] in err
    assert err.count("\n") == 1


def test_a_missing_file_and_a_folder_are_one_sentence(files, capsys, tmp_path):
    arguments = files(recorded(), recorded())
    for bad in (tmp_path / "none.json", tmp_path):
        assert main([arguments[0], str(bad)]) == 2
        assert capsys.readouterr().err.startswith(f"harness.regress: {bad} cannot be read (")


def test_a_recorded_baseline_is_small_and_compares_as_the_whole_does(files, capsys):
    base, new = files({}, recorded() | {"commit_info": {"author": "someone"}})
    Path(base).unlink()
    whole = recorded() | {"commit_info": {"author": "someone"}}
    whole["machine_info"]["node"] = "somewhere"
    Path(new).write_text(json.dumps(whole))
    assert main([base, new, "--record"]) == 0
    text = Path(base).read_text()
    assert "some" not in text
    assert read(Path(base)).benchmarks == read(Path(new)).benchmarks
    assert read(Path(base)).machine == read(Path(new)).machine
    assert slim(read(Path(base))) == text.encode()
    assert main([base, new]) == 0
    slower = json.dumps(recorded(1.5, seed=7))
    Path(new).write_text(slower)
    assert main([base, new]) == 1
    assert main([str(Path(base).parent / "no" / "\0"), new, "--record"]) == 2


def test_slower_by_less_than_is_allowed_passes_and_is_still_called_slower(files, capsys):
    assert main([*files(recorded(1.1), recorded(1.1 * 1.2, seed=7)), "--least", "25"]) == 0
    assert "  slower" in capsys.readouterr().out
    assert main([*files(recorded(1.1), recorded(1.1 * 1.3, seed=7)), "--least", "25"]) == 1
    with pytest.raises(SystemExit, match="2"):
        main([*files(recorded(), recorded()), "--least", "-1"])


def test_a_planted_slowdown_of_30_percent_is_caught(files, capsys, monkeypatch):
    """13 units of work where there were 10, timed beside each other as the benchmarks do, by a clock that counts them.

    The clock goes slower and faster for all, as on a machine that others use, and each call is off by 5 %.
    """
    draw, now, spell = random.Random(0), 0.0, 1.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    def units(count):
        def work():
            nonlocal now, spell
            spell = draw.uniform(1, 3) if draw.random() < 0.001 else spell
            now += 1e-4 * count * spell * draw.lognormvariate(0, 0.05)

        return work

    def timed(count):
        works = {"sa": units(10), "sa again": units(10), "sp_sa": units(count)}
        seconds = interleave(works, 41, torch.device("cpu"), lambda: None, least_s=0.005)
        ratios = {name: [one / sa for one, sa in zip(seconds[name], seconds["sa"], strict=True)] for name in seconds}
        return content(*(benchmark(name, ratios[name]) for name in ("sa again", "sp_sa")))

    base = timed(10)
    assert main(files(base, timed(10))) == 0
    assert main(files(base, timed(13))) == 1
    assert "sp_sa] is slower" in capsys.readouterr().out


def test_help_answers_without_torch():
    code = (
        "import sys; from harness import regress; print([name for name in ('torch', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"
    said, cpu_s = spent([sys.executable, "-m", "harness.regress", "--help"])
    assert cpu_s < 0.5
    assert "BASE.json NEW.json" in said


@pytest.mark.slow
def test_twenty_reruns_of_the_benchmarks_pass(tmp_path):
    """An A/A rerun: the same code, timed again in a process of its own, is no regression. Wants a quiet machine."""

    def record(name):
        subset = "14x14-B16 and (again or sp_sa or gpsa) and not table"
        command = ["-m", "pytest", "tests/benchmarks", "-q", "--benchmark-only", "--rounds", "11", "-m", "short",
                   "-k", subset, "--benchmark-json", str(tmp_path / name)]  # fmt: skip
        subprocess.run([sys.executable, *command], check=True, cwd=ROOT, capture_output=True, env=os.environ.copy())
        return str(tmp_path / name)

    base = record("base.json")
    assert [main([base, record(f"{number}.json")]) for number in range(20)] == 20 * [0]
