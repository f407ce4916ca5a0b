"""Training of activation sets: recipes, methods, the engine. Not part of the wheel."""
