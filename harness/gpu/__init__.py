"""GPUs: what a spatial bias costs on a card in a few minutes, and what its kernels become where there is no card.

program    the command
plan       pieces of work in the order of their weight, begun only where they fit into the time that is left
checks     every backend against eager on the card
layers     the attention alone, backend beside backend
ahead      the triton backend's kernels, compiled without a card
roofline   what they can do at best, by formula
"""
