"""Layers with one error each: name -> (the rule that is to catch it, the class, what the rule then says)."""

from .attending import ATTENDING
from .grids import GRIDS
from .pairing import STREAMS
from .terms import BUILD, LEARNING, MASKS, TERMS

ALL = BUILD | TERMS | MASKS | LEARNING | ATTENDING | GRIDS | STREAMS
