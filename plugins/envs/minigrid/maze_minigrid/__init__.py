"""MiniGrid and BabyAI grid worlds."""
