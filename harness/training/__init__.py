"""Training: the recipe, its batches, the loop that goes on anywhere."""
