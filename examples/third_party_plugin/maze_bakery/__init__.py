"""A bakery for Maze: how many loaves are baked today?"""
