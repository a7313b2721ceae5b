"""What every figure shares: colours, labels, captions, SVG."""
