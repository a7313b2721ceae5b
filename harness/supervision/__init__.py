"""What supervises a training beside the labels: a teacher network, and its label maps of the training pictures.

The teacher is a convolutional network of timm's. Its label maps say for each cell of a picture what is there; they may
also be those that the authors of token labelling published.
"""
