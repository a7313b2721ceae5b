"""The table in variants/README.md: every entry is tried; what it says works agrees with the plain forward."""

import copy
import io
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import FakeCopyMode
from torch.func import functional_call, grad, vmap

import variants
from tests.support import markdown
from variants import build
from variants.relation import Unsupported

pytestmark = pytest.mark.filterwarnings("ignore")  # these tools warn about themselves
README = Path(variants.__file__).with_name("README.md")
GRID = (4, 4)
NAMED = {  # by backend: variants that it serves, for what they have in common and what they do not
    "eager": ["sa", "sp_sa", "gpsa", "irpe[on=qkv]", "lookhere", "swin"],
    "sdpa": ["sa", "rel_bias", "lookhere", "swin", "decomposed"],
    "grouped": ["swin", "cswin", "swin+log_cpb+cosine"],
    "tiled": ["sp_sa", "rel_bias", "rpe_2d"],
}
SPECS = {"auto": [*variants.names(), "swin+log_cpb+cosine", "cswin+lepe", "gpsa+window", "irpe[on=qkv]"], **NAMED}


class Layer(nn.Module):
    """x [B, N, C] -> [B, N, C], as a module of tensors alone."""

    def __init__(self, spec, backend):
        super().__init__()
        torch.manual_seed(0)
        self.attention = build(spec, 32, 4, grid=GRID, layer=1, backend=backend)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.2)

    def forward(self, x):
        return self.attention(x, GRID)


def tokens(batch):
    return torch.randn(batch, 16, 32, generator=torch.Generator().manual_seed(batch))


def same(found, truth):
    torch.testing.assert_close(found, truth, rtol=1e-4, atol=1e-4)


def export(layer, dynamic=True, **how):
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},) if dynamic else None
    exported = torch.export.export(layer, (tokens(2),), dynamic_shapes=shapes, **how).module()
    for batch in (1, 2, 7) if dynamic else (2,):
        same(exported(tokens(batch)), layer(tokens(batch)))


def in_onnx(layer, dynamic=True):
    """x -> what onnxruntime computes of a file by torch's new exporter."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    shapes = ({0: torch.export.Dim("batch", min=1, max=4096)},) if dynamic else None
    file = io.BytesIO()
    torch.onnx.export(layer, (tokens(2),), dynamo=True, dynamic_shapes=shapes, verbose=False).save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])


def onnx(layer, dynamic=True):
    computed = in_onnx(layer, dynamic)
    for batch in (1, 2, 7) if dynamic else (2,):
        same(computed(tokens(batch)), layer(tokens(batch)))


def jit_trace(layer):
    traced = torch.jit.trace(layer, tokens(2), check_trace=False)
    for batch in (1, 7):
        same(traced(tokens(batch)), layer(tokens(batch)))


def compiled(layer):
    torch._dynamo.reset()
    graphs = []
    once = torch.compile(layer, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    for _ in range(3):
        same(once(tokens(2)), layer(tokens(2)))
    assert len(graphs) == 1


def fake(layer):
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        without_numbers = copy.deepcopy(layer)
    with mode:
        assert without_numbers(tokens(2)).shape == (2, 16, 32)


def meta(layer):
    assert copy.deepcopy(layer).to("meta")(tokens(2).to("meta")).shape == (2, 16, 32)
    with torch.device("meta"):
        made = Layer(layer.spec, layer.attention.backend)
    assert made(tokens(2).to("meta")).shape == (2, 16, 32)


def over_images(layer):
    same(vmap(lambda x: layer(x[None])[0])(tokens(3)), layer(tokens(3)))


def per_sample(layer):
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}

    def loss(weights, x):
        return functional_call(layer, weights, (x[None],)).square().mean()

    found = vmap(grad(loss), (None, 0))(weights, tokens(3))
    for number, x in enumerate(tokens(3)):
        layer.zero_grad()
        layer(x[None]).square().mean().backward()
        for name, weight in layer.named_parameters():
            if weight.grad is not None:
                same(found[name][number], weight.grad)


def second_derivative(layer):
    x = tokens(2).requires_grad_()
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all()


TOOLS = {
    "torch.export, batch as given": lambda layer: export(layer, dynamic=False, strict=False),
    "torch.export, batch dynamic": lambda layer: export(layer, strict=False),
    "torch.export, strict, batch dynamic": lambda layer: export(layer, strict=True),
    "torch.onnx.export and onnxruntime, batch as given": lambda layer: onnx(layer, dynamic=False),
    "torch.onnx.export and onnxruntime, batch dynamic": onnx,
    "torch.jit.trace, used at another batch": jit_trace,
    "torch.compile, one graph, one compilation": compiled,
    "FakeTensorMode": fake,
    "device meta": meta,
    "torch.func.vmap over images": over_images,
    "per-sample gradients (vmap of grad)": per_sample,
    "a second derivative": second_derivative,
}
GRADIENTS = {"torch.compile, one graph, one compilation", "per-sample gradients (vmap of grad)", "a second derivative"}


def table():
    lines = markdown.section(README.read_text(), "In other tools").splitlines()
    rows = [line.strip("| \n").split(" | ") for line in lines if re.match(r"\| \w", line)]
    backends = rows[0][1:]
    return {(row[0], backend): said for row in rows[1:] for backend, said in zip(backends, row[1:], strict=True)}


def test_the_table_has_every_tool_and_backend():
    assert table().keys() == {(tool, backend) for tool in TOOLS for backend in SPECS}


def test_a_file_of_other_weights_is_seen():
    layer = Layer("sp_sa", "auto").eval()
    with torch.no_grad():
        computed = in_onnx(layer, dynamic=False)
        layer.attention.relation.function.w2.neg_()
        with pytest.raises(AssertionError, match="not close"):
            same(computed(tokens(2)), layer(tokens(2)))


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("spec", ["rel_bias", "fire", "t5"])
def test_onnx_takes_learned_biases_where_gradients_are_on(spec, dynamic):
    """There torch's exporter cannot merge the heads as they are (findings/onnx_wants_no_grad_for_some_biases.sh)."""
    onnx(Layer(spec, "sdpa").eval(), dynamic)


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("spec", ["rel_bias", "lookhere"])
def test_the_heads_are_copied_in_exported_graphs_of_learned_biases_alone(spec, gradients):
    layer = Layer(spec, "sdpa").eval()
    with torch.set_grad_enabled(gradients):
        graph = torch.export.export(layer, (tokens(2),)).graph
        same(torch.export.export(layer, (tokens(2),)).module()(tokens(2)), layer(tokens(2)))
    fused = next(node for node in graph.nodes if "scaled_dot_product_attention" in str(node.target))
    copied = any("clone" in str(user.target) for user in fused.users)
    assert copied == (spec == "rel_bias" and gradients)


def attempt(tool, spec, backend):
    """What the table would have to say of one variant: yes, refused, no; where this varies it is not tried."""
    layer = Layer(spec, backend).eval()
    layer.spec = spec
    try:
        with torch.set_grad_enabled(tool in GRADIENTS):
            TOOLS[tool](layer)
    except Unsupported:
        return "refused"
    except Exception as error:
        return "refused" if "Unsupported" in str(error) and "use backend=" in str(error) else f"no: {error}"
    return "yes"


# seconds each: all of them with -m slow, and always a few of some kind
LONG = {tool for tool in TOOLS if "export" in tool or "compile" in tool}
ALWAYS = {"sa", "sp_sa", "rel_bias"}


def cases(specs):
    """(tool, spec) of these specs, what takes long marked as slow but for a few."""
    for tool in TOOLS:
        for spec in specs:
            slow = tool in LONG and spec not in ALWAYS
            yield pytest.param(tool, spec, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("tool", "spec"), list(cases(SPECS["auto"])))
def test_every_variant_works_as_the_table_says(tool, spec):
    if table()[tool, "auto"] == "yes":
        assert attempt(tool, spec, "auto") == "yes"


@pytest.mark.parametrize("backend", NAMED)
@pytest.mark.parametrize(("tool", "spec"), list(cases(sorted({spec for specs in NAMED.values() for spec in specs}))))
def test_a_backend_works_as_the_table_says(tool, spec, backend):
    said = table()[tool, backend]
    if spec in NAMED[backend] and said != "varies":
        found = attempt(tool, spec, backend)
        assert found.partition(":")[0] == said, found
