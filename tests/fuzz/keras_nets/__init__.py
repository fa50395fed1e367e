"""Random Keras nets, of both generations, and what must hold of each."""
