"""What every figure shares: colours, axes, lines and marks, labels, SVG."""
