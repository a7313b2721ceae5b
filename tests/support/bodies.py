"""The smallest body with all that a body has: a layer that carries the variant, a plain one, a late class token."""

SMALL = {"size": "nano", "class_token": "late", "spatial_layers": 1}
FLAGS = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
