"""What there is to choose from: the list, and the page of all variants."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from matplotlib import image

from harness import gallery
from harness.run import catalogue
from harness.run import program as run
from tests.support import programs
from variants import backends, build, names, registry
from variants.registry import families, register
from variants.relation import SpatialRelation, Unsupported

ROOT = Path(__file__).parents[3]
OURS = [name for name in names() if registry._classes[name].__module__.startswith("variants.")]  # not other tests'


def test_every_variant_says_its_equation_and_its_source():
    found = [catalogue.entry(name) for name in OURS]
    assert [one.name for one in found if not (one.equation and one.source and one.families)] == []


@pytest.mark.parametrize(
    ("name", "params"),
    [("sa", 0), ("sp_sa", 4 * (4 * 32 + 1)), ("psa", 4 * 3), ("gpsa", 4 * 4), ("rel_bias", 4 * 27 * 27),
     ("log_cpb", 2 * 512 + 512 + 4 * 512), ("rope_axial", 0), ("rope_mixed", 384), ("lepe", 10 * 384)],
)  # fmt: skip
def test_the_parameters_are_those_of_the_equation(name, params):
    assert catalogue.entry(name).params == params


def test_the_list_names_every_variant_once_with_its_settings(capsys):
    assert run.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [line.split()[0] for line in lines[3:] if not line.startswith(" ")]
    assert first == names()
    assert len(OURS) == 29
    assert "hidden=32, form=mlp, scope=head, combine=mul" in " ".join(" ".join(lines).split())


def test_the_list_has_the_users_own_variants_and_says_what_is_wrong_with_a_file(capsys):
    done = programs.run("harness.run", "--list", "--variant-file", "examples/my_variant.py", cwd=ROOT)
    assert done.returncode == 0
    assert "\ncauchy  " in done.stdout
    assert run.main(["--list", "--variant-file", "nowhere.py"]) == 2
    assert "there is no file nowhere.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    "spec", ["sa", "sp_sa", "psa", "rpe_2d", "rpe_2d[values=True]", "swin", "cswin+sp_sa", "window"]
)
@pytest.mark.parametrize("prefix", [0, 1])
def test_a_backend_serves_what_it_is_said_to_serve_and_refuses_the_rest(spec, prefix):
    layer, x = build(spec, 32, 4, grid=(4, 4)).eval(), torch.randn(2, prefix + 16, 32)
    with torch.no_grad():
        said = backends.serving(layer.terms(x, (4, 4)), prefix + 16)
        for name in ("eager", "sdpa", "tiled", "grouped"):
            layer.backend = name
            if name in said:
                layer(x, (4, 4))
            else:
                with pytest.raises(Unsupported):
                    layer(x, (4, 4))


def pixels(picture):
    return [image.imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])), format="png") for uri in picture.images]


def test_the_pictures_show_the_terms_and_the_attention_of_the_middle():
    titles = {name: [p.title.split()[0] for p in gallery.pictures(catalogue.typical(name))] for name in names()}
    assert titles["sa"] == ["attention"]
    assert titles["sp_sa"] == ["prior", "attention"]
    assert titles["psa"] == ["bias", "attention"]
    assert titles["swin"] == ["kept", "attention"]
    (only,) = gallery.pictures(catalogue.typical("sa"))
    assert only.low == pytest.approx(1 / 196)
    assert only.high == pytest.approx(1 / 196)
    *_, seen = gallery.pictures(catalogue.typical("psa"))
    brightest = [divmod(int(one[4::8, 4::8, 0].argmax()), 14) for one in pixels(seen)]
    # heads peak half a patch from the middle (7, 7), so the first of two equally bright patches is found
    assert all(abs(y - 7) <= 1 and abs(x - 7) <= 1 for y, x in brightest)


def test_a_map_is_drawn_around_its_neutral_value_on_one_scale():
    ramp = torch.tensor([[[1.0, 0.0], [0.5, -1.0]]])
    (drawn,) = pixels(gallery.drawn("", ramp, neutral=0.0))
    red, white, blue = drawn[0, 0], drawn[0, 8], drawn[8, 8]
    assert drawn.shape == (16, 16, 4)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert white[:3].min() > 0.95


def test_the_page_has_every_variant_and_what_proved_it(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert gallery.main(["--report", str(tmp_path / "variants.html")]) == 0
    html = (tmp_path / "variants.html").read_text()
    assert all(f'id="{name}"' in html for name in names())
    unproved = html.count("no recorded proof")
    assert unproved == len(names()) - len(OURS)
    assert html.count("<figure>") >= len(names())
    assert "http" not in html.replace("http-equiv", "")
    assert len(html) < 1_000_000


def test_rows_of_another_study_are_no_proof(tmp_path):
    lines = (ROOT / gallery.BADGES).read_text().splitlines()
    other = json.loads(lines[0]) | {"variant": "sp_sa", "metric": "top1", "note": None}
    (tmp_path / "rows.jsonl").write_text("\n".join([lines[0], json.dumps(other)]))
    assert list(gallery.proved(tmp_path)) == ["sa"]


def test_a_proof_is_said_from_params_as_from_the_note_of_before(tmp_path):
    before = json.loads((ROOT / gallery.BADGES).read_text().splitlines()[0])
    oracles = {"the equation by loops": 1e-09, "torch's scaled_dot_product_attention": 1e-09}
    now = before | {"variant": "sa", "params": {"oracles": oracles}, "note": None}
    old = before | {"variant": "psa", "note": "psa: the equation by loops (within 1e-09)", "params": None}
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(one) for one in (now, old)))
    assert gallery.proved(tmp_path) == {
        "sa": "the equation by loops (within 1e-09); torch's scaled_dot_product_attention (within 1e-09)",
        "psa": "the equation by loops (within 1e-09)",
    }


def test_the_help_of_the_gallery_needs_no_torch():
    code = "import sys; from harness import gallery; gallery.parser(); print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_what_is_written_in_a_users_class_is_inert(tmp_path):
    try:

        @register("hostile", family="hostiles")
        class Hostile(SpatialRelation):
            equation = "<script>alert(1)</script>"
            source = '"><img src=x onerror=alert(1)>'

        html = gallery.page([catalogue.entry("hostile")], {"hostile": "<b>"})
    finally:
        del registry._classes["hostile"], registry._home["hostile"], registry._families["hostiles"]
    assert "hostiles" not in families()
    assert "<script>" not in html
    assert "<img src=x" not in html
    assert "&lt;b&gt;" in html


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert gallery.main(["--report", str(tmp_path / "file" / "page.html")]) == 2
    assert "harness.gallery: " in capsys.readouterr().err


BROKEN = """
from variants import SpatialRelation, register

@register("broken_one")
class Broken(SpatialRelation):
    def bias(self, offsets):
        raise TypeError("no such thing")
"""


@pytest.mark.parametrize("program", [["harness.run", "--list"], ["harness.gallery"]])
def test_a_users_variant_that_raises_is_a_sentence_with_its_place(program, tmp_path):
    (tmp_path / "mine.py").write_text(BROKEN)
    done = programs.run(*program, "--variant-file", tmp_path / "mine.py", cwd=ROOT)
    assert done.returncode == 2
    assert "broken_one cannot be listed: TypeError: no such thing at mine.py:7" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_file_of_badges_is_a_sentence(tmp_path, capsys):
    (tmp_path / "badges.jsonl").write_text("{no json\n")
    assert gallery.main(["--badges", str(tmp_path / "badges.jsonl"), "--report", str(tmp_path / "page.html")]) == 2
    assert "record the badges anew" in capsys.readouterr().err
