"""What nine counters say of one Vision Transformer: python examples/counters.py [SPEC ...]

Prints, in units of 1e9, what each tool says of one 224 px image through DeiT-S with the attention of a spec, beside
harness.measure.cost. A tool that is not installed is left out: pip install ptflops calflops thop torchprofile torchinfo
"""

import contextlib
import importlib.metadata
import io
import logging
import sys
import warnings

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.backbone import create
from harness.measure import cost

SIDE = 224  # px


def deit_s(spec):
    """DeiT-S with the attention of a spec, as anybody makes it."""
    model = create(
        spec, size="small", img_size=SIDE, patch_size=16, num_classes=1000, class_token="input", seed=0
    )  # fmt: skip
    return model.eval()


def fvcore(model, images):
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(model, images).total()


def flop_counter_mode(model, images):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    return counter.get_total_flops()


def ptflops(backend):
    def count(model, images):
        from ptflops import get_model_complexity_info

        return get_model_complexity_info(
            model, tuple(images.shape[1:]), backend=backend, as_strings=False, print_per_layer_stat=False
        )[0]

    return count


def calflops(model, images):
    from calflops import calculate_flops

    return calculate_flops(model, input_shape=tuple(images.shape), output_as_string=False, print_results=False)[1]


def thop(model, images):
    from thop import profile

    return profile(model, (images,), verbose=False)[0]


def torchprofile(model, images):
    from torchprofile import profile_macs

    return profile_macs(model, images)


def torchinfo(model, images):
    from torchinfo import summary

    return summary(model, input_data=images, verbose=0).total_mult_adds


COUNTERS = {  # name in the table: (package, what counts)
    "harness.measure.cost": ("", lambda model, images: 1e9 * cost.count(model, images)),
    "torch FlopCounterMode": ("torch", flop_counter_mode),
    "fvcore": ("fvcore", fvcore),
    "ptflops, aten": ("ptflops", ptflops("aten")),
    "ptflops, pytorch": ("ptflops", ptflops("pytorch")),
    "torchprofile": ("torchprofile", torchprofile),
    "thop": ("thop", thop),
    "calflops, MACs": ("calflops", calflops),
    "torchinfo": ("torchinfo", torchinfo),
}


def counted(spec, names=tuple(COUNTERS)):
    """By name what the counters that are installed say, in 1e9."""
    images, found = torch.zeros(1, 3, SIDE, SIDE), {}
    for name in names:
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with contextlib.suppress(ImportError), quiet[0], quiet[1]:
            found[name] = COUNTERS[name][1](deit_s(spec), images) / 1e9
    return found


def main(specs):
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    columns = [counted(spec) for spec in specs]
    print(f"| counter | version | {' | '.join(f'`{spec}`' for spec in specs)} |")
    print("|---|---|" + "---|" * len(specs))
    for name in columns[0]:
        package = COUNTERS[name][0]
        version = importlib.metadata.version(package).partition("+")[0] if package else ""
        print(f"| {name} | {version} | {' | '.join(f'{column[name]:.3f}' for column in columns)} |")


if __name__ == "__main__":
    main(sys.argv[1:] or ["sa", "sp_sa", "rpe_2d"])
