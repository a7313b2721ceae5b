"""What every variant keeps to, as plain functions: rule(spec, case) raises Broken with one sentence, or returns.

The tests run the rules on every registered variant and setting; `python -m harness.check` runs them on a user's file
and prints the first line of each docstring. Numbers are compared in float64, away from the initial values.
"""

from harness.check.cases import Rule
from harness.check.rules import attending, grids, pairing, terms

RULES: tuple[Rule, ...] = (
    terms.can_be_built, terms.terms_have_their_shape, terms.masks_have_their_shape, attending.output_is_finite,
    attending.map_is_what_attends, terms.every_parameter_learns, attending.images_are_independent,
    attending.prefix_tokens_are_neutral, grids.unseen_grids, grids.no_step_is_the_same_everywhere,
    grids.resample_keeps_the_output, grids.resolution_rule_holds, pairing.state_dict_round_trip,
    pairing.shared_weights, pairing.same_seed_same_module, pairing.forward_draws_nothing, pairing.starts_as_sa,
    pairing.training_and_inference_agree, attending.backends_equal_eager, attending.bfloat16,
    terms.terms_follow_the_device, attending.sums_hold, attending.cost_can_be_counted, terms.decay_names_exist,
)  # fmt: skip
